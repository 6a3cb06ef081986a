import type { ServerUnaryCall } from "@grpc/grpc-js";
import { SwitchoverError } from "../../proto/error.ts";
import type { Log } from "../log/log.ts";
import { type Identity, identityIn, uriOf } from "./identity.ts";
import { mayCall } from "./roles.ts";
import { SeldomTold } from "./seldom-told.ts";

/** What there is of a call before anything was done for it. */
export type IncomingCall = Pick<ServerUnaryCall<unknown, unknown>, "getAuthContext" | "getPeer">;

/** Throws where the call is not to be answered. */
export type AdmitCall = (call: IncomingCall) => void;

/** Admits whoever could connect: with plain text that is this host. */
export const ADMIT_ALL: () => AdmitCall = () => () => {};

/**
 * Of each method of a service: lets in those whose role may call it (roles.ts). Throws UNAUTHENTICATED / NO_IDENTITY where
 * the certificate names nobody of this trust domain, and PERMISSION_DENIED / ROLE_MAY_NOT, with a line in the log for
 * whoever audits.
 */
export function admitByRole(trustDomain: string, log: Log): (service: string, method: string) => AdmitCall {
  const told = new SeldomTold();
  const refuse = (call: IncomingCall, error: SwitchoverError, caller: string, method: string): never => {
    const times = told.count(`${caller} ${method}`);
    if (times !== undefined) {
      const { reason } = error;
      const fields = {
        audit: "call-refused",
        reason,
        caller,
        grpc_method: method,
        grpc_peer: call.getPeer(),
      };
      log.warn({ ...fields, times }, `A call was refused: ${error.message}`);
    }
    throw error;
  };
  return (service, method) => (call) => {
    const caller = callerOf(call);
    if (caller === undefined || caller.trustDomain !== trustDomain) {
      const is = caller === undefined ? "nobody" : uriOf(caller);
      const sentence = `The caller's certificate names ${is}, and nobody of spiffe://${trustDomain}.`;
      const error = new SwitchoverError("UNAUTHENTICATED", sentence, {
        reason: "NO_IDENTITY",
        metadata: { trust_domain: trustDomain },
      });
      return refuse(call, error, is, method);
    }
    if (mayCall(caller.role, service, method)) return;
    const name = method.charAt(0).toUpperCase() + method.slice(1);
    const error = new SwitchoverError("PERMISSION_DENIED", `${uriOf(caller)} may not call ${name}.`, {
      reason: "ROLE_MAY_NOT",
      metadata: { caller: uriOf(caller), role: caller.role, method: name },
    });
    refuse(call, error, uriOf(caller), method);
  };
}

/** Who the caller's certificate names; undefined where it names nobody, and for plain text. */
export function callerOf(call: Pick<IncomingCall, "getAuthContext">): Identity | undefined {
  const { sslPeerCertificate } = call.getAuthContext();
  return identityIn(sslPeerCertificate?.subjectaltname);
}
