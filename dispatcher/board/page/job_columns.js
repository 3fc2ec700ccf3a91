/** The columns of the table of all jobs. */

import {
  agoColumn,
  codecColumn,
  engineColumn,
  nameColumn,
  selectColumn,
  statusColumn,
} from "./columns.js";
import { el, set, setText } from "./dom.js";
import { drawBar, leftText, makeBar, paceOf } from "./progress.js";
import * as words from "./words.js";

/** Makes them; `all` is the box in the head, `selection` the Set of the ids that are selected. */
export function jobColumns(store, all, selection) {
  return [
    selectColumn(all, (job) => selection.has(job.job_id), (job) => words.jobName(job)),
    statusColumn(),
    nameColumn("minmax(8rem, 3fr)"),
    codecColumn("4rem"),
    engineColumn("minmax(4rem, 1fr)"),
    howColumn(store),
    priorityColumn(),
    attemptsColumn(),
    agoColumn(store, "submitted", "Submitted", (job) => job.submitted_at, "6rem", "submitted"),
    agoColumn(store, "ended", "Ended", (job) => job.finished_at, "6rem"),
  ];
}

/** What there is to say of a job: how far it is, why it failed, how it went. */
function howColumn(store) {
  return {
    name: "how",
    head: "How it is",
    width: "minmax(6rem, 3fr)",
    class: "how",
    make: () => el("div", {}, makeBar(), el("span", { class: "cut" })),
    draw: (cell, job) => {
      const [bar, text] = cell.children;
      bar.hidden = job.status !== "assigned" && !isInParts(job);
      if (!bar.hidden) {
        drawBar(bar, job.progress ?? NaN, `Progress of ${words.jobName(job)}`);
      }
      const [told, title = null] = howOf(job, store.now());
      setText(text, told);
      set(text, "title", title);
      set(cell, "data-status", job.status);
    },
  };
}

/** Whether a film waits for its parts, and so has a progress although nobody has it. */
const isInParts = ({ status, parts }) => status === "pending" && parts?.length > 0;

function howOf(job, now) {
  const error = job.error_message;
  switch (job.status) {
    case "assigned": {
      const pace = paceOf(job, now);
      return [[words.percent(pace.percent), leftText(pace)].filter(Boolean).join(" · ")];
    }
    case "pending":
      if (isInParts(job)) return [`${words.percent(job.progress ?? 0)} of ${words.count(job.parts.length, "part")}`];
      if (job.not_before) {
        return [`pauses until ${words.when(job.not_before, now)}: ${error ?? ""}`, error];
      }
      return [error ? `again: ${error}` : "", error];
    case "failed_permanently":
      return [error, error];
    case "completed":
      return [wentOf(job), job.output_url];
    default:
      return [""];
  }
}

function wentOf(job) {
  const took = words.millis(job.finished_at) - words.millis(job.assigned_at);
  const parts = [Number.isNaN(took) ? "" : `took ${words.duration(took)}`];
  if (job.result?.speed) parts.push(`${words.decimal(job.result.speed)}×`);
  if (job.result?.vmaf) parts.push(`VMAF ${words.decimal(job.result.vmaf)}`);
  return parts.filter(Boolean).join(" · ");
}

function priorityColumn() {
  return {
    name: "priority",
    head: "Priority",
    width: "4rem",
    class: "end",
    make: () => el("div"),
    draw: (cell, job) => setText(cell, job.priority > 0 ? words.number(job.priority) : ""),
  };
}

function attemptsColumn() {
  return {
    name: "attempts",
    head: "Attempts",
    width: "4.5rem",
    class: "end",
    make: () => el("div"),
    draw: (cell, job) => {
      setText(cell, job.attempt > 0 ? words.number(job.attempt) : "");
      const most = words.number(job.max_retries);
      set(cell, "title", `${words.count(job.retries, "failure")} of at most ${most}`);
    },
  };
}
