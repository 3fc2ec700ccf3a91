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

import { applyToEngines } from "./fold_engines.js";
import { applyToJobs, countPart } from "./fold_jobs.js";
import { emptyState, noChange, putEngine, putJob } from "./fold_state.js";

export { applyToEngines, applyToJobs, countPart, emptyState, noChange, putEngine, putJob };

/** Folds an event, as `GET /events/stream` gives it, and adds to `change` what it changed. */
export function apply(state, event, change = noChange()) {
  applyToEngines(state, event, change); // first: the job still says who held it
  applyToJobs(state, event, change);
  if (event.type === "job_completed") countPart(state, state.jobs.get(event.job_id)?.parent, change);
  state.seq = event.seq;
  state.time = event.time;
}
