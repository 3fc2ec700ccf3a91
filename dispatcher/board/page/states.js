/**
 * The states of jobs and engines: each has a shape, a word and a colour, in this order of weight, so
 * that no state is told by its colour alone.
 */

import { el, svg } from "./dom.js";

/** For each state of an engine: its word, and whether it wants an operator's eye. In order. */
export const ENGINE_STATES = {
  working: { word: "working", heeds: false },
  idle: { word: "idle", heeds: false },
  silent: { word: "silent", heeds: true },
  blocked: { word: "blocked", heeds: true },
  draining: { word: "draining", heeds: false },
};

/** For each status of a job on the wire: its word and its colour class. */
export const JOB_STATES = {
  assigned: { word: "running", tone: "working" },
  pending: { word: "waiting", tone: "idle" },
  failed_permanently: { word: "failed", tone: "blocked" },
  completed: { word: "done", tone: "done" },
  cancelled: { word: "cancelled", tone: "idle" },
};

/** The statuses in which nothing more can happen to a job, unless it is retried. */
export const FINAL = new Set(["completed", "failed_permanently", "cancelled"]);

/**
 * The state of an engine. One that is silent is that first; one that is blocked or drained and still
 * has a job is blocked or draining, since that is what an operator must know of it.
 */
export function engineState(engine) {
  if (!engine.online) return "silent";
  if (engine.blocked !== null && engine.blocked !== undefined) return "blocked";
  if (engine.drained || isResting(engine)) return "draining";
  return engine.current_job !== null || engine.status === "busy" ? "working" : "idle";
}

/** Whether an engine says that it takes no new jobs now, of its own accord. */
export function isResting(engine) {
  return engine.status === "busy" && Boolean(engine.resting);
}

/** The shape of a state of an engine or a job. It is for the eye; the word stands beside it. */
export function shape(state) {
  const drawing = SHAPES[state] ?? SHAPES.idle;
  return svg(
    "svg",
    { viewBox: "0 0 12 12", class: "shape", "aria-hidden": "true", focusable: "false" },
    ...drawing.map(([tag, attributes]) => svg(tag, attributes)),
  );
}

const RING = { cx: 6, cy: 6, r: 4.25, class: "stroke" };
const SHAPES = {
  working: [["circle", { cx: 6, cy: 6, r: 5, class: "solid" }]],
  idle: [["circle", RING]],
  silent: [["circle", { ...RING, "stroke-dasharray": "2 1.8" }]],
  blocked: [["rect", { x: 1.5, y: 1.5, width: 9, height: 9, class: "solid" }]],
  draining: [
    ["circle", RING],
    ["path", { d: "M6 1.75a4.25 4.25 0 0 0 0 8.5z", class: "solid" }],
  ],
  assigned: [
    ["rect", { x: 0.75, y: 3.75, width: 10.5, height: 4.5, class: "stroke" }],
    ["rect", { x: 1, y: 4, width: 6, height: 4, class: "solid" }],
  ],
  pending: [
    ["circle", RING],
    ["path", { d: "M6 3.5V6.2L7.8 7.4", class: "stroke" }],
  ],
  completed: [["path", { d: "M1.5 6.5 4.5 9.5 10.5 2.5", class: "stroke heavy" }]],
  failed_permanently: [["path", { d: "M2.5 2.5 9.5 9.5M9.5 2.5 2.5 9.5", class: "stroke heavy" }]],
  cancelled: [
    ["circle", RING],
    ["path", { d: "M3.2 8.8 8.8 3.2", class: "stroke" }],
  ],
};

/** The shape and the word of a job's status. */
export function jobMark(status) {
  const { word, tone } = JOB_STATES[status] ?? { word: status, tone: "idle" };
  return mark(status, word, tone);
}

/** The shape and the word of an engine's state. */
export function engineMark(state) {
  return mark(state, ENGINE_STATES[state]?.word ?? state, state);
}

function mark(state, word, tone) {
  return el("span", { class: `mark tone-${tone}` }, shape(state), el("span", {}, word));
}
