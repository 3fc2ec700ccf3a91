/** What the fold of events keeps: jobs and engines as they are on the wire, and what has changed. */

/** The state of a farm on which nothing has happened. */
export function emptyState() {
  return {
    seq: 0,
    time: null,
    jobs: new Map(),
    engines: new Map(),
    counts: { pending: 0, assigned: 0, completed: 0, failed_permanently: 0, cancelled: 0 },
    replaced: new Map(), // engine id → Map(former instance → whether it was heard again)
  };
}

/** What changed: ids of jobs and engines, or everything; or time has passed (`tick`), and no more. */
export function noChange() {
  return { jobs: new Set(), engines: new Set(), all: false, tick: false };
}

/** Puts a job in place of what is known of it, and counts it. */
export function putJob(state, job, change = noChange()) {
  const former = state.jobs.get(job.job_id);
  if (former !== undefined) state.counts[former.status] -= 1;
  state.counts[job.status] = (state.counts[job.status] ?? 0) + 1;
  state.jobs.set(job.job_id, job);
  change.jobs.add(job.job_id);
}

/** Puts an engine as the wire shows it. */
export function putEngine(state, engine, change = noChange()) {
  const again = (engine.fenced_instances ?? []).map((instance) => [instance, true]);
  state.replaced.set(engine.engine_id, new Map(again));
  state.engines.set(engine.engine_id, engine);
  change.engines.add(engine.engine_id);
}

/** A time of an event as the wire of jobs has it: without microseconds if they are 0. */
export function onWire(time) {
  return time.replace(".000000Z", "Z");
}
