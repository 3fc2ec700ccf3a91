/**
 * The state of the farm as a fold of its events: what `projections/jobs.py` and
 * `projections/engines.py` do, with jobs and engines as they are on the wire.
 *
 * Laws:
 * - What is here equals what `GET /jobs/` and `GET /engines/` show as of the same seq.
 * - `apply` is total: an event of a type that it does not know changes only `seq` and `time`.
 * - A job or an engine is never changed in place: a new object takes its place. So who holds an old
 *   one sees whether something changed by comparing.
 */

const MOST_REPLACED = 32;
const MOST_FAILED = 32;
const ASKED_BY_NAME = "asked by name";

/** The fields of an engine that its reports can't set. */
const NOT_REPORTED = new Set([
  "engine_id",
  "current_job",
  "online",
  "last_seen",
  "drained",
  "blocked",
  "blocked_until",
  "fenced_instances",
  "failed_jobs",
]);

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

/** Folds an event, as `GET /events/stream` gives it, and adds to `change` what it changed. */
export function apply(state, event, change = noChange()) {
  applyToEngines(state, event, change); // first: the job still says who held it
  applyToJobs(state, event, change);
  state.seq = event.seq;
  state.time = event.time;
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

/** Folds what an event says of its job. */
export function applyToJobs(state, event, change = noChange()) {
  if (event.type === "job_submitted") {
    if (!state.jobs.has(event.job_id)) putJob(state, submitted(event), change);
    return;
  }
  const job = state.jobs.get(event.job_id);
  if (job === undefined) return;
  const changed = changedJob(job, event);
  if (changed !== null) putJob(state, changed, change);
}

/** The tags among abilities, by their names alone. */
export function tagsOf(abilities) {
  return (Array.isArray(abilities) ? abilities : []).filter((it) => String(it).startsWith("tag:")).map((it) => it.slice(4));
}

function submitted(event) {
  const job = {
    job_id: event.job_id,
    source_url: event.source_url,
    target_codec: event.target_codec,
    job_size: event.job_size,
    status: "pending",
    assigned_engine: null,
    output_url: null,
    retries: 0,
    max_retries: event.max_retries,
    attempt: 0,
    priority: event.priority ?? 0,
    progress: null,
    not_before: null,
    error_message: null,
    submitted_at: onWire(event.time),
    finished_at: null,
    assigned_at: null,
  };
  if (event.recipe !== undefined) job.recipe = event.recipe;
  if (event.output_name !== undefined) job.output_name = event.output_name;
  const tags = tagsOf(event.needs);
  if (tags.length) job.tags = tags;
  if (event.callback_url !== undefined) job.callback_url = event.callback_url;
  return job;
}

function changedJob(job, event) {
  switch (event.type) {
    case "job_assigned":
      return {
        ...job,
        status: "assigned",
        assigned_engine: event.engine_id,
        attempt: event.attempt,
        progress: null,
        not_before: null,
        assigned_at: onWire(event.time),
      };
    case "job_completed":
      return withResult(
        {
          ...job,
          status: "completed",
          output_url: event.output_url,
          progress: null,
          not_before: null,
          finished_at: onWire(event.time),
        },
        event.result,
      );
    case "job_progressed":
      return { ...job, progress: event.progress };
    case "job_requeued":
      return {
        ...job,
        status: "pending",
        assigned_engine: null,
        retries: event.retries,
        error_message: event.error_message,
        progress: null,
        not_before: event.not_before ?? null,
      };
    case "job_released":
      return { ...job, not_before: null };
    case "job_retried":
      return withResult(
        {
          ...job,
          status: "pending",
          assigned_engine: null,
          output_url: null,
          retries: 0,
          finished_at: null,
        },
        undefined,
      );
    case "job_reprioritized":
      return { ...job, priority: event.priority };
    case "job_failed_permanently":
      return {
        ...job,
        status: "failed_permanently",
        retries: event.retries,
        error_message: event.error_message,
        progress: null,
        not_before: null,
        finished_at: onWire(event.time),
      };
    case "job_cancelled":
      return {
        ...job,
        status: "cancelled",
        progress: null,
        not_before: null,
        finished_at: onWire(event.time),
      };
    default:
      return null;
  }
}

function withResult(job, result) {
  const { result: _former, ...rest } = job;
  return result === undefined ? rest : { ...rest, result };
}

/** Folds what an event says of engines. */
export function applyToEngines(state, event, change = noChange()) {
  const { engine_id: id } = event;
  switch (event.type) {
    case "engine_seen":
    case "job_progressed":
      return seen(state, id, event, change);
    case "job_assigned":
      return assigned(state, event, change);
    case "job_completed":
      release(state, event.job_id, change);
      return update(state, id, { failed_jobs: [] }, change);
    case "job_requeued":
    case "job_failed_permanently":
      release(state, event.job_id, change);
      return event.blames_engine ? failed(state, id, event.job_id, change) : undefined;
    case "job_cancelled":
    case "job_retried":
      return release(state, event.job_id, change);
    case "engine_blamed":
      return failed(state, id, event.job_id, change);
    case "engine_reported":
      return reported(state, event, change);
    case "engine_benchmarked":
      update(state, id, { benchmark_time: event.benchmark_time }, change);
      return seen(state, id, event, change);
    case "engine_replaced":
      return replacedBy(state, event, change);
    case "engine_fenced":
      state.replaced.get(id)?.set(event.instance, true);
      return update(state, id, { fenced_instances: fencedOf(state, id) }, change);
    case "engine_lost":
      return update(state, id, { online: false }, change);
    case "engine_blocked":
      return update(
        state,
        id,
        { blocked: event.reason, blocked_until: event.until ?? null },
        change,
      );
    case "engine_unblocked":
      return update(state, id, { blocked: null, blocked_until: null }, change);
    case "engine_drained":
      return update(state, id, { drained: true }, change);
    case "engine_resumed": {
      const former = state.replaced.get(id);
      if (former !== undefined) for (const instance of former.keys()) former.set(instance, false);
      const none = { fenced_instances: [], failed_jobs: [] };
      const again = { drained: false, blocked: null, blocked_until: null, ...none };
      return update(state, id, again, change);
    }
    case "engine_forgotten":
      if (state.engines.delete(id)) change.engines.add(id);
      state.replaced.delete(id);
      return;
    default:
  }
}

function update(state, id, fields, change) {
  const engine = state.engines.get(id);
  if (engine === undefined) return;
  state.engines.set(id, { ...engine, ...fields });
  change.engines.add(id);
}

function seen(state, id, event, change) {
  update(state, id, { online: true, last_seen: onWire(event.time) }, change);
}

function assigned(state, event, change) {
  const engine = state.engines.get(event.engine_id);
  if (engine === undefined || engine.current_job !== null) return;
  release(state, event.job_id, change);
  const fields = { status: "busy", current_job: event.job_id, online: true };
  if (event.rule === ASKED_BY_NAME) fields.last_seen = onWire(event.time);
  update(state, event.engine_id, fields, change);
}

function failed(state, id, jobId, change) {
  const former = state.engines.get(id)?.failed_jobs ?? [];
  if (former.includes(jobId)) return;
  update(state, id, { failed_jobs: [...former, jobId].slice(-MOST_FAILED) }, change);
}

function release(state, jobId, change) {
  const id = holderOf(state, jobId);
  if (id !== null) update(state, id, { status: "idle", current_job: null }, change);
}

function holderOf(state, jobId) {
  const likely = state.jobs.get(jobId)?.assigned_engine ?? null;
  if (likely !== null && state.engines.get(likely)?.current_job === jobId) return likely;
  for (const [id, engine] of state.engines) if (engine.current_job === jobId) return id;
  return null;
}

function reported(state, event, change) {
  const id = event.engine_id;
  if (!state.engines.has(id)) putEngine(state, unheard(id), change);
  const holds = state.engines.get(id).current_job !== null;
  const told = Object.entries(event.report).filter(
    ([name]) => !NOT_REPORTED.has(name) && !(name === "status" && holds),
  );
  update(state, id, Object.fromEntries(told), change);
  seen(state, id, event, change);
}

function unheard(id) {
  return {
    engine_id: id,
    engine_type: null,
    supported_codecs: [],
    status: "idle",
    storage_capacity_gb: null,
    streaming_support: false,
    benchmark_time: null,
    current_job: null,
    online: true,
    last_seen: null,
    drained: false,
    blocked: null,
    blocked_until: null,
    fenced_instances: [],
    failed_jobs: [],
  };
}

function replacedBy(state, event, change) {
  const { engine_id: id, instance, replaced: gone } = event;
  if (!state.engines.has(id)) return;
  const former = [...(state.replaced.get(id) ?? [])].filter(
    ([name]) => name !== instance && name !== gone,
  );
  state.replaced.set(id, new Map([...former, [gone, false]].slice(-MOST_REPLACED)));
  update(state, id, { fenced_instances: fencedOf(state, id) }, change);
}

function fencedOf(state, id) {
  return [...(state.replaced.get(id) ?? [])].filter(([, again]) => again).map(([name]) => name);
}

/** A time of an event as the wire of jobs has it: without microseconds if they are 0. */
function onWire(time) {
  return time.replace(".000000Z", "Z");
}
