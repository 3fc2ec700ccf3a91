/**
 * How far jobs are, how fast, and when they will be done, from what is known of them: their progress
 * and when their attempt began, or the dispatcher's own forecast.
 *
 * Until an attempt has shown some progress, its speed says nothing and there is no time left.
 */

import { el, set, setText } from "./dom.js";
import * as words from "./words.js";

const LEAST_PERCENT = 2;
const LEAST_MS = 5_000;

/** What is known of a running job: `{percent, leftMs, mbPerS}`, each NaN if it is not known. */
export function paceOf(job, now, expectedAt = null) {
  const percent = job.progress ?? NaN;
  const spent = now - words.millis(job.assigned_at);
  const says = percent >= LEAST_PERCENT && spent >= LEAST_MS;
  const mbPerS = says && job.job_size > 0 ? (job.job_size * percent) / 100 / (spent / 1000) : NaN;
  const foretold = words.millis(expectedAt) - now;
  const own = says ? (spent * (100 - percent)) / percent : NaN;
  return { percent, leftMs: Number.isNaN(foretold) ? own : Math.max(0, foretold), mbPerS };
}

/** "12 min left", or what stands for it. */
export function leftText({ percent, leftMs }) {
  if (percent >= 100 || leftMs < 1000) return "finishing";
  return Number.isNaN(leftMs) ? "" : `${words.roughly(leftMs)} left`;
}

/** A bar that says how far something is, also to a screen reader. */
export function makeBar() {
  return el("span", { class: "progress", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 });
}

/** Draws a bar; `percent` is NaN where nothing is known. */
export function drawBar(bar, percent, label) {
  const isKnown = Number.isFinite(percent);
  set(bar, "aria-label", label);
  set(bar, "aria-valuenow", isKnown ? Math.floor(percent) : null);
  set(bar, "data-unknown", isKnown ? null : true);
  const part = isKnown ? String(Math.min(100, Math.max(0, percent)) / 100) : "0";
  if (bar.style.getPropertyValue("--part") !== part) bar.style.setProperty("--part", part);
}

/** The cell with the bar and the percentage. */
export const barColumn = (width, read) => ({
  name: "progress",
  head: "Progress",
  width,
  class: "bar-cell",
  make: () => el("div", {}, makeBar(), el("span", { class: "number end" })),
  draw: (cell, item) => {
    const job = read(item);
    cell.firstChild.hidden = job === null;
    cell.lastChild.hidden = job === null;
    if (job === null) return;
    const percent = job.progress ?? NaN;
    drawBar(cell.firstChild, percent, `Progress of ${words.jobName(job)}`);
    setText(cell.lastChild, words.percent(percent));
  },
});
