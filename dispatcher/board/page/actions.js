/**
 * What can be done to jobs and engines. Whatever destroys work asks once, and everything says what
 * became of it.
 */

import { path } from "./api.js";
import { ask } from "./ask.js";
import { pathOf } from "./job_filters.js";
import { say } from "./notice.js";
import { FINAL } from "./states.js";
import * as words from "./words.js";

const AT_ONCE = 6; // requests

/** Whether a job can be cancelled, retried or given another priority. */
export const can = {
  cancel: (job) => !FINAL.has(job.status),
  retry: (job) => job.status === "failed_permanently" || job.status === "cancelled",
  priority: (job) => job.status === "pending",
};

/** Cancels jobs, after a question. Returns whether it was done. */
export async function cancelJobs(store, jobs) {
  const fit = jobs.filter(can.cancel);
  if (fit.length === 0) return refuse(jobs, "None of these jobs can be cancelled: they have ended.");
  const running = fit.filter((job) => job.status === "assigned").length;
  const sure = await ask({
    title: `Cancel ${words.count(fit.length, "job")}?`,
    text: running
      ? `${words.count(running, "is running", "are running")}; what the engines have done of ${running === 1 ? "it" : "them"} is lost. Cancelled jobs can be retried, from their beginning.`
      : "Cancelled jobs can be retried.",
    act: `Cancel ${words.count(fit.length, "job")}`,
    keep: fit.length === 1 ? "Keep it" : "Keep them",
    items: fit.map((job) => words.jobName(job)),
  });
  if (!sure) return false;
  await each(fit, "Cancelled", (job) => store.api.send("DELETE", path`/jobs/${job.job_id}`));
  return true;
}

/** Puts failed and cancelled jobs back in the queue. */
export async function retryJobs(store, jobs) {
  const fit = jobs.filter(can.retry);
  if (fit.length === 0) return refuse(jobs, "Only failed and cancelled jobs can be retried.");
  await each(fit, "Retried", (job) => store.api.send("POST", path`/jobs/${job.job_id}/retry`));
  return true;
}

/** Gives jobs that wait another priority. */
export async function prioritizeJobs(store, jobs, priority) {
  const fit = jobs.filter(can.priority);
  if (fit.length === 0) return refuse(jobs, "Only jobs that wait have a priority.");
  await each(fit, `Priority ${priority} for`, (job) =>
    store.api.send("POST", path`/jobs/${job.job_id}/priority`, { priority }),
  );
  return true;
}

/** Cancels or retries every job that filters match, also those that are not loaded. */
export async function allThatMatch(store, act, filters) {
  const to = `/jobs/${act}`;
  try {
    const counted = await store.api.request(pathOf(to, filters, { dry_run: "true" }), { method: "POST" });
    const { count } = await counted.json();
    const title = `${act === "cancel" ? "Cancel" : "Retry"} ${words.count(count, "job")}?`;
    const text = "These are all jobs that match the filters now. Those to which it can’t be done are left as they are.";
    if (!(await ask({ title, text, act: title.replace("?", ""), keep: "Leave them" }))) return false;
    const done = await (await store.api.request(pathOf(to, filters), { method: "POST" })).json();
    tell(act === "cancel" ? "Cancelled" : "Retried", done.done, new Map(Object.entries(done.reasons ?? {})));
    return true;
  } catch (error) {
    say(error.text ?? String(error), { bad: true });
    return false;
  }
}

/** Drains, resumes or forgets engines; forgetting asks. */
export async function actOnEngines(store, act, engines) {
  if (act === "forget") {
    const busy = engines.filter((engine) => engine.current_job !== null).length;
    const sure = await ask({
      title: `Forget ${words.count(engines.length, "engine")}?`,
      text: busy
        ? `${words.count(busy, "has a job", "have jobs")}, which ${busy === 1 ? "goes" : "go"} back to the queue. An engine that is heard again is new.`
        : "An engine that is heard again is new: it is drained and blocked no more.",
      act: `Forget ${words.count(engines.length, "engine")}`,
      keep: engines.length === 1 ? "Keep it" : "Keep them",
      items: engines.map((engine) => engine.engine_id),
    });
    if (!sure) return false;
  }
  const done = { drain: "Drained", resume: "Resumed", forget: "Forgot" }[act];
  await each(engines, done, ({ engine_id: id }) =>
    act === "forget"
      ? store.api.send("DELETE", path`/engines/${id}`)
      : store.api.send("POST", act === "drain" ? path`/engines/${id}/drain` : path`/engines/${id}/resume`),
    "engine",
  );
  return true;
}

function refuse(items, text) {
  if (items.length > 0) say(text);
  return false;
}

/** Does something to each of many, some at once, and says what became of them. */
async function each(items, done, send, noun = "job") {
  const reasons = new Map();
  const queue = [...items];
  let succeeded = 0;
  const work = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) {
      try {
        await send(item);
        succeeded += 1;
      } catch (error) {
        const text = error.text ?? String(error);
        reasons.set(text, (reasons.get(text) ?? 0) + 1);
        if (error.status === 0 || error.status === 401 || error.status === 403) queue.length = 0;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  tell(done, succeeded, reasons, noun);
}

function tell(done, succeeded, reasons, noun = "job") {
  if (succeeded > 0) say(`${done} ${words.count(succeeded, noun)}.`);
  for (const [reason, times] of reasons) {
    say(`${words.count(times, noun)}: ${reason}`, { bad: true });
  }
}
