/** The thread of `AsideRoute`: carries out one job after another, on a socket of its own. */
import { parentPort } from "node:worker_threads";
import { SwitchoverError } from "../../proto/error.ts";
import { type AsideJob, type AsideReport, finishJob, takeJob } from "./aside-job.ts";
import { encodeBatch } from "./route-batch.ts";
import { openRouteSocket } from "./route-socket.ts";

const route = openRouteSocket();

function refusalsOf({ requests }: AsideJob): readonly string[] {
  try {
    return route.execute(encodeBatch(requests)).flatMap((result) => (result.ok ? [] : [result.name]));
  } catch (thrown) {
    return [SwitchoverError.from(thrown).reason];
  }
}

parentPort?.on("message", (job: AsideJob) => {
  if (!takeJob(job, "begun")) return;
  const refusals = refusalsOf(job);
  finishJob(job);
  parentPort?.postMessage({ number: job.number, refusals } satisfies AsideReport);
});
