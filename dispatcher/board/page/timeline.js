/**
 * A job's events as a timeline: a lane for each attempt, the waits between, and what to mark.
 *
 * Laws:
 * - It is made of events, and of `now` for what has not ended. No clock is read.
 * - It is total: events of unknown types are marked, and a clock that was set back moves nothing
 *   backwards: what comes later in the log is drawn no earlier.
 * - Times are milliseconds since 1970.
 */

import { UNHEARD } from "./day.js";
import { endOf, plain, told } from "./telling.js";

/**
 * The timeline of a job, from all its events, oldest first:
 * `{from, to, open, lanes, waits, markers}`.
 *
 * A lane is `{attempt, engine, rule, considered, from, fromSeq, to, toSeq, end, why, progress}`. `to`
 * is null while it is under way, and `end` then "running"; else it is completed, failed, lost,
 * returned or cancelled. `progress` is a list of `[time, percent]`. A wait is
 * `{kind, from, to, until, why}`; its kind is waiting or pausing, `until` when a pause was to end. A
 * marker is `{seq, time, type, attempt, text}`; `attempt` is null if it belongs to no lane.
 */
export function timelineOf(events, now = null) {
  const lanes = [];
  const waits = [];
  const markers = [];
  let lane = null;
  let wait = null;
  let at = null;
  let first = null;
  const begin = (kind, event) => {
    wait = { kind, from: at, to: null, until: timeOf(event.not_before), why: "" };
    waits.push(wait);
  };
  const stop = () => {
    if (wait) wait.to = at;
    wait = null;
  };
  for (const event of events) {
    const time = timeOf(event.time);
    at = Math.max(at ?? time ?? 0, time ?? at ?? 0);
    first ??= at;
    const own = lane;
    const ending = endOf(event);
    if (event.type === "job_assigned") {
      stop();
      if (lane) close(lane, at, event.seq, { end: "lost", why: "lost" }); // no true log has this
      lane = laneOf(event, at);
      lanes.push(lane);
    } else if (event.type === "job_progressed") {
      lane?.progress.push([at, Number(event.progress) || 0]);
    } else if (ending) {
      stop();
      if (lane) close(lane, at, event.seq, ending);
      lane = null;
    }
    if (event.type === "job_submitted" || event.type === "job_retried" || event.type === "job_released" || event.type === "job_split") {
      stop();
      begin("waiting", event);
    } else if (event.type === "job_requeued") {
      begin(event.not_before ? "pausing" : "waiting", event);
    }
    if (event.type !== "job_progressed") {
      const attempt = (own ?? lane)?.attempt ?? null;
      markers.push({ seq: event.seq, time: at, type: event.type, attempt, text: plain(told(event)) });
    }
  }
  const open = Boolean(lane || wait);
  const to = open && now !== null ? Math.max(now, at) : at;
  return { from: first, to, open, lanes, waits, markers };
}

const timeOf = (text) => {
  const time = Date.parse(text ?? "");
  return Number.isNaN(time) ? null : time;
};

const laneOf = ({ attempt, engine_id: engine, rule, considered, seq }, from) => ({
  attempt,
  engine,
  rule,
  considered: considered ?? [],
  from,
  fromSeq: seq,
  to: null,
  toSeq: null,
  end: "running",
  why: "under way",
  progress: [],
  heard: [],
  silence: null,
});

function close(lane, at, seq, { end, why }) {
  lane.to = at;
  lane.toSeq = seq;
  lane.end = end;
  lane.why = why;
}

/**
 * Put onto a lane when its engine was heard, and the silence it was lost for, from events of the
 * engine. The silence is `{from, to, s}`: it began when the engine was last heard, and ended when
 * its lease did.
 */
export function withEngine(lane, events, { until = null } = {}) {
  const end = lane.toSeq ?? Infinity;
  const heard = [];
  let silence = null;
  for (const event of events) {
    const time = timeOf(event.time);
    if (event.seq <= lane.fromSeq || event.seq > end + NEAR || time === null) continue;
    if (event.type === "engine_lost") {
      const to = timeOf(event.since) ?? time;
      const s = Number(event.silent_s) || 0;
      // The loss is recorded just before or after the end of the attempt that it causes.
      if (lane.end === "lost") silence = { from: Math.max(to - s * 1000, lane.from), to, s };
    } else if (event.seq <= end && !UNHEARD_IN_LANE.has(event.type)) {
      heard.push(time);
    }
  }
  if (until !== null && lane.to === null) {
    const last = Math.max(lane.from, ...heard.slice(-1));
    silence = { from: last, to: Math.max(until, last), s: Math.max(until - last, 0) / 1000 };
  }
  return { ...lane, heard, silence };
}

const NEAR = 8;

/** Nor does an attempt's own beginning show that its engine was heard later. */
const UNHEARD_IN_LANE = new Set([...UNHEARD, "job_assigned"]);

/** The percent that an attempt had reached by a time; null before it told any. */
export function progressAt(lane, time) {
  let reached = null;
  for (const [at, percent] of lane.progress) if (at <= time) reached = percent;
  return reached;
}

