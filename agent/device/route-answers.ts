import type { Link } from "../netlink/link.ts";
import type { RouteResult } from "../netlink/route-port.ts";
import type { NicProblem } from "./device.ts";

/** The link that was asked for; undefined where there is none. */
export function linkOf(result: RouteResult | undefined): Link | undefined {
  const message = result?.ok === true ? result.messages[0] : undefined;
  return message?.type === "link" ? message.link : undefined;
}

export function isErrno(result: RouteResult | undefined, ...names: readonly string[]): boolean {
  return result?.ok === false && names.includes(result.name);
}

/** Whether it is so now, by this request or because what it was about is gone, which the kernel says by one of `gone`. */
export function doneOrGone(result: RouteResult | undefined, gone: readonly string[]): boolean {
  return result?.ok === true || isErrno(result, ...gone);
}

/** The error's name, and the kernel's own words where it gave some. */
export function kernelWords({ name, text }: Extract<RouteResult, { readonly ok: false }>): string {
  return text === "" ? name : `${name}, ${text}`;
}

/**
 * The kernel's refusal in words, `deed` being what it was asked to do with the device; for use where `result` is not ok,
 * or is not what was asked for. `field` names the device in its NIC's definition.
 */
export function refusedBy(
  deviceName: string,
  field: string,
  deed: string,
  result: RouteResult | undefined,
): NicProblem {
  if (result === undefined || result.ok) {
    return { reason: "NO_ANSWER", sentence: `The kernel did not say how to ${deed} ${deviceName}.` };
  }
  if (result.name === "ENODEV") {
    const sentence = `${deviceName} is gone: the kernel could not ${deed} it.`;
    return { reason: "DEVICE_MISSING", sentence, field };
  }
  const sentence = `The kernel refused to ${deed} ${deviceName}: ${kernelWords(result)}.`;
  return { reason: result.name, sentence };
}
