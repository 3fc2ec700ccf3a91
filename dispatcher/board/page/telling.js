/**
 * Events, and what became of a job, as an operator would tell them.
 *
 * Laws:
 * - A sentence is a list of parts: texts, and `{job}` or `{engine}` with an id, which a view may make
 *   links. `plain` joins them. All texts of clients and engines stay texts.
 * - An event of a type that this page does not know is told by the name of its type.
 */

import { count, decimal, duration, percent, size } from "./words.js";

/** What an operator calls the way in which an attempt ended, by the cause of its event. */
const CAUSES = {
  reported: { end: "failed", short: "failed" },
  engine_at_fault: { end: "failed", short: "failed through the engine" },
  source_bad: { end: "failed", short: "failed, its source is bad" },
  source_away: { end: "failed", short: "could not have its source" },
  given_back: { end: "returned", short: "given back, the engine was stopped" },
  timed_out: { end: "lost", short: "lost, it took too long or showed no progress" },
  engine_silent: { end: "lost", short: "lost, the engine fell silent" },
  engine_restarted: { end: "lost", short: "lost, the engine restarted or was taken over" },
  engine_asked: { end: "lost", short: "lost, the engine asked for other work" },
  engine_forgotten: { end: "lost", short: "lost, the engine was forgotten" },
  inexact: { end: "failed", short: "failed, the film can’t be cut exactly here" },
  prerequisite_failed: { end: "failed", short: "failed, since a job that it waits for failed" },
};
const REPORTED = new Set(["reported", "engine_at_fault", "source_bad", "source_away", "inexact"]);

/** The last line of a text that says something: of what an engine tells, that is the reason. */
export function lastLine(text) {
  const lines = String(text ?? "").split(/\r\n|[\n\r\u2028\u2029]/);
  return lines.findLast((line) => line.trim() !== "")?.trim() ?? "";
}

/** How an attempt ended: `{end, why}`; `end` is failed, lost, returned, completed or cancelled. */
export function endOf(event) {
  switch (event.type) {
    case "job_completed":
      return { end: "completed", why: "completed" };
    case "job_cancelled":
      return { end: "cancelled", why: "cancelled" };
    case "job_split":
      return { end: "completed", why: `split the film into ${count(event.parts?.length ?? 0, "part")}` };
    case "job_requeued":
    case "job_failed_permanently": {
      const { end, short } = CAUSES[event.cause] ?? CAUSES.reported;
      const said = lastLine(event.error_message);
      const why = REPORTED.has(event.cause ?? "reported") && said ? `${short}: ${said}` : short;
      return { end, why };
    }
    default:
      return null;
  }
}

/** A sentence as one text. */
export const plain = (parts) =>
  parts.map((part) => (typeof part === "string" ? part : (part.job ?? part.engine))).join("");

/** An event as a sentence, in parts. */
export function told(event) {
  return [...(SENTENCES[event.type]?.(event, J(event), E(event)) ?? unknown(event))];
}

const J = ({ job_id: id }) => ({ job: id });
const E = ({ engine_id: id }) => (id === null || id === undefined ? "An engine" : { engine: id });

const unknown = (event) => {
  const about = event.job_id ? [" of job ", J(event)] : event.engine_id ? [" of ", E(event)] : [];
  return [event.type, ...about];
};

const SENTENCES = {
  job_submitted: (event, job) => {
    const large = event.job_size ? `, ${size(event.job_size)}` : "";
    const urgent = event.priority ? `, priority ${event.priority}` : "";
    const codec = event.target_codec;
    return [
      "Job ", job, ` was submitted: ${event.source_url} to ${codec}${large}${urgent}`,
      ...(event.parent ? [", a part of job ", { job: event.parent }] : []),
      ...awaited(event),
    ];
  },
  job_assigned: ({ attempt, rule, considered }, job, engine) => {
    const among = considered?.length > 1 ? `, among ${considered.length} engines` : "";
    const chosen = rule === "asked by name" ? ", for which it asked" : `, by "${rule}"${among}`;
    return [engine, " got job ", job, `, attempt ${attempt}${chosen}`];
  },
  job_progressed: ({ progress }, job, engine) => [
    engine, ` is at ${percent(progress)} of job `, job,
  ],
  job_completed: (event, job, engine) =>
    event.engine_id === null
      ? ["Job ", job, " was completed by nobody who held it"]
      : [engine, " completed job ", job],
  job_requeued: (event, job, engine) => [
    ...ended(event, job, engine),
    event.not_before ? "; it waits again after a pause" : "; it waits again",
  ],
  job_failed_permanently: (event, job, engine) => [
    ...ended(event, job, engine), "; it failed for good",
  ],
  job_released: (_, job) => ["Job ", job, " pauses and waits for others no more"],
  job_cancelled: (event, job) => [
    "Job ", job, " was cancelled",
    ...(event.engine_id === null ? [] : [" while ", E(event), " had it"]),
    ...withOther(event),
  ],
  job_retried: (event, job) => [
    "Job ", job, " was put back with all its retries", ...withOther(event), ...awaited(event),
  ],
  job_split: ({ parts }, job, engine) => [
    engine, " split job ", job, ` into ${count(parts?.length ?? 0, "part")}`,
  ],
  job_made_whole: ({ reason }, job) => [
    "Job ", job, ` is done in one piece, since it can’t be cut exactly: ${lastLine(reason)}`,
  ],
  job_reprioritized: ({ priority }, job) => ["Job ", job, ` was given priority ${priority}`],
  answer_refused: ({ answer, reason }, job, engine) => [
    engine, ` told too late that job `, job, ` ${answer === "fail" ? "failed" : "is done"}: ${reason}`,
  ],
  engine_reported: ({ report }, _, engine) => {
    const names = Object.keys(report ?? {});
    return names.length
      ? [engine, ` reported ${names.map((name) => `${name} ${brief(report[name])}`).join(", ")}`]
      : [engine, " was heard for the first time"];
  },
  engine_replaced: ({ kept_job: kept }, _, engine) => [
    "Another process took over as ", engine,
    ...(kept ? [", and goes on with job ", { job: kept }] : []),
  ],
  engine_fenced: (_, _job, engine) => [
    "A process that was replaced as ", engine, " was heard again and refused",
  ],
  engine_asked: (_, job, engine) => [engine, " asked for other work while it held job ", job],
  engine_seen: (_, _job, engine) => [engine, " was heard"],
  engine_benchmarked: ({ benchmark_time: s }, _, engine) => [
    engine, ` did its benchmark in ${decimal(s)} s`,
  ],
  engine_lost: ({ silent_s: s }, _, engine) => [
    engine, ` was given up after ${duration(s * 1000)} of silence`,
  ],
  engine_blamed: (_, job, engine) => [
    engine, " alone could not have the source of job ", job, ", which another completed",
  ],
  engine_blocked: ({ reason }, _, engine) => [engine, ` is blocked: ${reason}`],
  engine_unblocked: (_, _job, engine) => [engine, " may have a job again, on probation"],
  engine_drained: (_, _job, engine) => [engine, " was drained"],
  engine_resumed: (_, _job, engine) => [engine, " was resumed"],
  engine_forgotten: (_, _job, engine) => [engine, " was forgotten"],
};

/** The jobs that one waits for from an event on. */
function awaited({ waits_for: ids }) {
  if (!ids?.length) return [];
  return ["; it waits for ", ...(ids.length === 1 ? ["job ", { job: ids[0] }] : [count(ids.length, "job")])];
}

const withOther = ({ because_of: id }) => (id ? [", with job ", { job: id }] : []);

function ended(event, job, engine) {
  const said = lastLine(event.error_message);
  const reason = said ? `: ${said}` : "";
  switch (event.cause ?? "reported") {
    case "engine_at_fault":
      return [engine, " failed job ", job, ` by a fault of its own${reason}`];
    case "source_bad":
      return [engine, " found the source of job ", job, ` bad${reason}`];
    case "source_away":
      return [engine, " could not have the source of job ", job, reason];
    case "given_back":
      return [engine, " was stopped and gave job ", job, " back"];
    case "timed_out":
      return [engine, " took too long over job ", job, ", or showed no progress"];
    case "engine_silent":
      return [engine, " fell silent with job ", job];
    case "engine_restarted":
      return [engine, " restarted or was taken over, and lost job ", job];
    case "engine_asked":
      return [engine, " asked for other work, and lost job ", job];
    case "engine_forgotten":
      return [engine, " was forgotten with job ", job];
    case "inexact":
      return [engine, " can’t cut the film of job ", job, ` exactly here${reason}`];
    case "prerequisite_failed":
      return ["A job that job ", job, ` waits for failed${reason}`];
    default:
      return [engine, " failed job ", job, reason];
  }
}

const BRIEF = 80;

function brief(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > BRIEF ? `${text.slice(0, BRIEF - 1)}…` : text;
}

/** What became of a job, as a headline. `job` is as on the wire. */
export function headline(job) {
  const said = lastLine(job.error_message);
  const tried = count(job.attempt ?? 0, "attempt");
  switch (job.status) {
    case "completed":
      return [
        "Done",
        ...(job.assigned_engine ? [" by ", { engine: job.assigned_engine }] : []),
        job.attempt > 1 ? ` after ${tried}` : "",
      ];
    case "failed_permanently":
      return [job.attempt ? `Failed after ${tried}` : "Failed", said ? `: ${said}` : ""];
    case "cancelled":
      if (!job.attempt) return ["Cancelled before an engine had it"];
      return [
        "Cancelled",
        ...(job.assigned_engine
          ? [" while ", { engine: job.assigned_engine }, " had it"]
          : [` after ${tried}`]),
      ];
    case "assigned": {
      const at = typeof job.progress === "number" ? `, ${percent(job.progress)} done` : "";
      const again = job.attempt > 1 && !job.parts ? `, attempt ${job.attempt}` : "";
      const what = job.parts ? ` joins its ${count(job.parts.length, "part")}` : " is at work on it";
      return [{ engine: job.assigned_engine }, `${what}${at}${again}`];
    }
    default:
      if (job.parts) return [`Is done in ${count(job.parts.length, "part")}`];
      if (job.not_before) return ["Pauses after a failure", said ? `: ${said}` : ""];
      return [job.attempt ? `Waits again after ${tried}` : "Waits for an engine", said ? `: ${said}` : ""];
  }
}
