/** The columns that tables of jobs and engines share. Every cell is drawn from one item. */

import { link } from "./address.js";
import { el, fill, set, setText } from "./dom.js";
import { leftText, paceOf } from "./progress.js";
import { engineMark, engineState, jobMark } from "./states.js";
import { textColumn } from "./table.js";
import * as words from "./words.js";

/** The name of a job's source, as a link to the job. */
export const nameColumn = (width = "minmax(10rem, 3fr)") => ({
  name: "source",
  head: "Source",
  width,
  class: "name",
  make: () => el("div", {}, el("a", { tabindex: -1 })),
  draw: ({ firstChild: anchor }, job) => {
    setText(anchor, words.jobName(job));
    set(anchor, "href", link({ view: "job", id: job.job_id }));
    set(anchor, "title", job.source_url);
  },
});

/** A job's status as a mark, with the reason one step away. */
export const statusColumn = (width = "6.5rem") => ({
  name: "status",
  head: "State",
  width,
  make: () => el("div"),
  draw: (cell, job) => {
    set(cell, "data-why-job", job.job_id);
    if (cell.dataset.state === job.status) return;
    cell.dataset.state = job.status;
    fill(cell, jobMark(job.status));
  },
});

/** An engine's state as a mark, with the reason one step away. */
export const engineStateColumn = (width = "6.5rem") => ({
  name: "state",
  head: "State",
  width,
  make: () => el("div"),
  draw: (cell, engine) => {
    const state = engineState(engine);
    set(cell, "data-why-engine", engine.engine_id);
    if (cell.dataset.state === state) return;
    cell.dataset.state = state;
    fill(cell, engineMark(state));
  },
});

/** The engine of a job, as a link. */
export const engineColumn = (width = "minmax(6rem, 1fr)") => ({
  name: "engine",
  head: "Engine",
  width,
  make: () => el("div", {}, el("a", { tabindex: -1 })),
  draw: ({ firstChild: anchor }, job) => {
    const id = job.assigned_engine;
    setText(anchor, id ?? "");
    set(anchor, "href", id === null ? null : link({ view: "engine", id }));
    set(anchor, "title", id);
  },
});

/**
 * The box that selects a row. `all` is the box of the column's head; `isSelected(item)` says whether
 * a row is, and `nameOf(item)` names it.
 */
export const selectColumn = (all, isSelected, nameOf) => ({
  name: "select",
  head: all,
  width: "1rem",
  make: () => el("div", { "data-select": true }, el("input", { type: "checkbox", tabindex: -1 })),
  draw: ({ firstChild: input }, item) => {
    set(input, "checked", isSelected(item));
    set(input, "aria-label", `Select ${nameOf(item)}`);
  },
});

export const codecColumn = (width = "4rem") =>
  textColumn("codec", "Codec", width, (job) => [job.target_codec, job.target_codec]);

export const attemptColumn = (width = "5rem") =>
  textColumn("attempt", "", width, (job) => (job.attempt > 1 ? `attempt ${job.attempt}` : ""), "end weak");

/** The time left of a running job; `forecast(id)` gives when it is expected, or null. */
export const leftColumn = (store, forecast, width = "6.5rem", jobOf = (job) => job, sort = null) => ({
  sort,
  ...textColumn(
    "left",
    "Left",
    width,
    (item) => {
      const job = jobOf(item);
      if (job === null || job.status !== "assigned") return "";
      const pace = paceOf(job, store.now(), forecast(job.job_id));
      const at = Number.isNaN(pace.leftMs) ? "" : `done about ${words.when(store.now() + pace.leftMs, store.now())}`;
      return [leftText(pace), at];
    },
    "end",
  ),
});

/** How fast a running job is read, in MB of its source a second. */
export const speedColumn = (store, width = "5.5rem", jobOf = (job) => job) =>
  textColumn(
    "speed",
    "Speed",
    width,
    (item) => {
      const job = jobOf(item);
      if (job === null || job.status !== "assigned") return "";
      const { mbPerS } = paceOf(job, store.now());
      return Number.isNaN(mbPerS) ? "" : [`${words.decimal(mbPerS)} MB/s`, "MB of the source a second, since this attempt began"];
    },
    "end weak",
  );

/** How long ago a time is, with the exact time in the title. */
export const agoColumn = (store, name, head, read, width = "6rem", sort = null) => ({
  sort,
  ...textColumn(
    name,
    head,
    width,
    (item) => {
      const time = read(item);
      return time ? [words.ago(time, store.now()), words.exactly(time)] : "";
    },
    "end weak",
  ),
});
