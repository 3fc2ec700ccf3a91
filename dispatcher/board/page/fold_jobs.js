/** What events say of jobs, as `projections/jobs.py` has it. */

import { noChange, onWire, putJob } from "./fold_state.js";

/** The fields that a job has only if its submission gave them. */
const GIVEN = ["recipe", "output_name", "parent", "part", "after", "callback_url"];

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
function tagsOf(abilities) {
  const told = Array.isArray(abilities) ? abilities.map(String) : [];
  return told.filter((it) => it.startsWith("tag:")).map((it) => it.slice(4));
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
  for (const name of GIVEN) if (event[name] !== undefined) job[name] = event[name];
  const tags = tagsOf(event.needs);
  if (tags.length) job.tags = tags;
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
      return retried(job, event);
    case "job_split":
      return { ...job, status: "pending", assigned_engine: null, progress: 0, parts: event.parts };
    case "job_made_whole": {
      const { parts: _parts, ...rest } = job;
      return { ...rest, progress: null, whole: event.reason };
    }
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

/** Counts a part that was completed in the progress of its film, while that waits for its parts. */
export function countPart(state, filmId, change = noChange()) {
  const film = state.jobs.get(filmId);
  if (!film?.parts?.length || film.status !== "pending") return;
  const all = film.parts.length;
  const done = Math.min(all, Math.round(((film.progress ?? 0) / 100) * all) + 1);
  putJob(state, { ...film, progress: percentOf(done, all) }, change);
}

/** A film that was cancelled begins anew, and forgets its parts. */
function retried(job, event) {
  const { parts, ...rest } = job;
  const kept = job.status === "cancelled" || parts === undefined ? rest : { ...rest, parts };
  return withResult(
    {
      ...kept,
      status: "pending",
      assigned_engine: null,
      output_url: null,
      retries: 0,
      finished_at: null,
      progress: progressOfParts(kept, event.waits_for ?? []),
    },
    undefined,
  );
}

/** The progress of a film that waits for some of its parts again. */
function progressOfParts({ parts = [] }, waitsFor) {
  if (parts.length === 0 || waitsFor.length === 0) return null;
  const awaited = new Set(waitsFor);
  return percentOf(parts.filter((id) => !awaited.has(id)).length, parts.length);
}

/** With two places, as the dispatcher rounds it: half to even, which only eighths are exactly. */
function percentOf(done, all) {
  const percent = (100 * done) / all;
  if ((percent * 8) % 4 === 1) return Math.floor(percent * 100) / 100;
  return Number(percent.toFixed(2));
}
