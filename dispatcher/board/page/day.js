/**
 * An engine's day: its events as bands, one for each time in which it was in one state.
 *
 * Laws:
 * - It is made of events and of what the engine was when they begin. No clock is read.
 * - It is total, and its bands follow each other without a gap or an overlap.
 * - A silence is drawn from when the engine was last heard, not from when it was given up.
 */

/** Events of an engine that it does not cause itself. */
export const UNHEARD = new Set([
  "engine_lost", "engine_blamed", "engine_blocked", "engine_unblocked", "engine_drained",
  "engine_resumed", "engine_forgotten", "engine_fenced", "job_requeued", "job_failed_permanently",
  "job_cancelled", "answer_refused",
]);
const ENDS = new Set([
  "job_completed", "job_requeued", "job_failed_permanently", "job_cancelled", "job_split",
]);

/**
 * The bands of an engine from `from` to `to` (ms): `[{from, to, state, job}]`. `events` are its
 * events in that time, oldest first; `before` is the engine as it was at `from`, as on the wire, or
 * null if it was not there. A state is absent, silent, working, blocked, drained or idle.
 */
export function bandsOf(events, { from, to, before }) {
  const engine = asFolded(before);
  const bands = [{ from, to: from, ...seenAs(engine) }];
  let at = from;
  for (const event of events) {
    const time = Date.parse(event.time);
    if (!Number.isNaN(time)) at = Math.min(Math.max(at, time), to);
    change(engine, event);
    const next = seenAs(engine);
    const last = bands.at(-1);
    if (next.state === last.state && next.job === last.job) continue;
    begin(bands, event.type === "engine_lost" ? silentSince(event, at) : at, next);
  }
  bands.at(-1).to = to;
  return bands.filter((band) => band.to > band.from);
}

/**
 * What an engine is after some events, as `before` has it; null if it is not there. All that is said
 * of it is what bands are made of.
 */
export function engineAfter(events, before) {
  const engine = asFolded(before);
  for (const event of events) change(engine, event);
  const { there, heard, blocked, drained, job } = engine;
  return there ? { online: heard, blocked, drained, current_job: job } : null;
}

const asFolded = (engine) =>
  engine
    ? { there: true, heard: engine.online, blocked: Boolean(engine.blocked), drained: engine.drained, job: engine.current_job }
    : { there: false, heard: true, blocked: false, drained: false, job: null };

function change(engine, event) {
  if (!UNHEARD.has(event.type)) {
    engine.there = true;
    engine.heard = true;
  }
  if (event.type === "job_assigned") engine.job = event.job_id;
  else if (ENDS.has(event.type)) engine.job = engine.job === event.job_id ? null : engine.job;
  else if (event.type === "engine_lost") engine.heard = false;
  else if (event.type === "engine_blocked") engine.blocked = true;
  else if (event.type === "engine_unblocked") engine.blocked = false;
  else if (event.type === "engine_drained") engine.drained = true;
  else if (event.type === "engine_resumed") engine.blocked = engine.drained = false;
  else if (event.type === "engine_forgotten") Object.assign(engine, asFolded(null));
}

function seenAs({ there, heard, blocked, drained, job }) {
  if (!there) return { state: "absent", job: null };
  if (!heard) return { state: "silent", job: null };
  if (job) return { state: "working", job };
  if (blocked) return { state: "blocked", job: null };
  return { state: drained ? "drained" : "idle", job: null };
}

const silentSince = (event, at) => at - Math.max(Number(event.silent_s) || 0, 0) * 1000;

/** Begin a band at a time, which may be before the last one ended: then that one is shorter. */
function begin(bands, at, next) {
  const first = bands[0].from;
  while (bands.length > 1 && bands.at(-1).from >= at) bands.pop();
  bands.at(-1).to = Math.max(at, first);
  bands.push({ from: Math.max(at, first), to: Math.max(at, first), ...next });
}

/** How long the engine was in each state, in seconds, by state; working also by codec. */
export function shares(bands, codecOf) {
  const sums = new Map();
  for (const { from, to, state, job } of bands) {
    const name = state === "working" ? `working ${codecOf(job) ?? ""}`.trim() : state;
    sums.set(name, (sums.get(name) ?? 0) + (to - from) / 1000);
  }
  return sums;
}
