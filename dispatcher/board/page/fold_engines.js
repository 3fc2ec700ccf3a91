/** What events say of engines, as `projections/engines.py` has it. */

import { noChange, onWire, putEngine } from "./fold_state.js";

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
    case "job_split":
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
