/** The part of the submit form that takes files: a button, a place to drop them, and how far each is. */

import { el, set, setText } from "./dom.js";
import { announce } from "./notice.js";
import { drawBar, makeBar } from "./progress.js";
import * as words from "./words.js";

const MB = 1e6;

/**
 * Makes it for `uploads`; `limits` is what `GET /store` says. `node` is drawn anew with every change;
 * `take(dropped)` takes what was dropped elsewhere in the form; `stop()` ends it.
 */
export function filesPart(uploads, limits) {
  const rows = new Map(); // upload → its row
  const told = new Set(); // those that were announced
  const refusal = (file) => refusalOf(file, limits.max_file_bytes);
  const picker = el("input", { type: "file", multiple: true, id: "submit-files", hidden: true });
  picker.addEventListener("change", () => {
    uploads.add([...picker.files], refusal);
    picker.value = ""; // so that the same file can be chosen again
  });
  const list = el("ul", { class: "uploads" });
  const node = el(
    "div",
    { class: "files" },
    el(
      "p",
      {},
      el("button", { type: "button", class: "button", onclick: () => picker.click() }, "Upload files"),
      el("span", { class: "weak" }, ` or drop them here. They go to the dispatcher’s store, each up to ${words.size(limits.max_file_bytes / MB)}.`),
    ),
    picker,
    list,
  );

  function draw() {
    for (const [upload, row] of rows) {
      if (uploads.list.includes(upload)) continue;
      if (row.node.contains(document.activeElement)) node.querySelector("button").focus();
      row.node.remove();
      rows.delete(upload);
    }
    for (const upload of uploads.list) {
      if (!rows.has(upload)) {
        rows.set(upload, rowOf(upload, uploads));
        list.append(rows.get(upload).node);
      }
      rows.get(upload).draw();
      tell(upload);
    }
    list.hidden = uploads.list.length === 0;
  }

  function tell(upload) {
    if (!["done", "failed"].includes(upload.state)) return void told.delete(upload);
    if (told.has(upload)) return;
    told.add(upload);
    announce(`${upload.file.name}: ${stateOf(upload)}`);
  }

  uploads.addEventListener("change", draw);
  draw();
  return {
    node,
    take: (dropped) => uploads.add(filesIn(dropped), refusal),
    stop: () => uploads.removeEventListener("change", draw),
  };
}

function rowOf(upload, uploads) {
  const { file } = upload;
  const bar = makeBar();
  const state = el("span", { class: "upload-state" });
  const again = el("button", { type: "button", class: "quiet", onclick: () => uploads.again(upload) }, "Try again");
  const remove = el("button", { type: "button", class: "quiet", "aria-label": `Take ${file.name} away`, onclick: () => uploads.remove(upload) }, "×");
  const node = el(
    "li",
    {},
    el("span", { class: "upload-name", title: file.name }, el("bdi", {}, file.name)),
    el("span", { class: "weak number end" }, words.size(file.size / MB)),
    bar,
    state,
    el("span", { class: "upload-buttons" }, again, remove),
  );
  return {
    node,
    draw() {
      const { done, error } = upload;
      set(node, "data-state", upload.state);
      const hasBar = upload.state === "reading" || upload.state === "sending";
      bar.hidden = !hasBar;
      if (hasBar) drawBar(bar, file.size ? (100 * done) / file.size : 100, `${stateWord(upload)} ${file.name}`);
      setText(state, stateOf(upload));
      again.hidden = upload.state !== "failed" || upload.isRefused;
      set(state, "title", error);
    },
  };
}

const stateWord = ({ state }) => ({ waiting: "waits", reading: "reading", sending: "uploading", done: "uploaded", failed: "not uploaded" })[state];

/** How far an upload is, in words. */
export function stateOf(upload) {
  const { state, done, file, waits, error, speed } = upload;
  if (state === "failed") return error;
  if (state === "waiting" || state === "done") return stateWord(upload);
  const part = words.percent(file.size ? (100 * done) / file.size : 100);
  if (waits) return `${part} · waits: ${waits}`;
  const left = Number.isFinite(speed) ? `${words.size(speed / MB)}/s · ${words.roughly(((file.size - done) / speed) * 1_000)} left` : "";
  return [`${stateWord(upload)} ${part}`, left].filter(Boolean).join(" · ");
}

/** Why a file can't be uploaded, or null. */
export function refusalOf(file, most) {
  if (file.isFolder) return "This is a folder. Drop its files.";
  if (file.size === 0) return "This file is empty.";
  if (file.size > most) return `The store takes files of up to ${words.size(most / MB)}.`;
  return null;
}

/** The files of a drop; a folder in it is told by `isFolder`, since it can't be read as a file. */
function filesIn(transfer) {
  return [...transfer.items]
    .filter(({ kind }) => kind === "file")
    .map((item) => {
      const file = item.getAsFile();
      if (file !== null && item.webkitGetAsEntry?.()?.isDirectory) file.isFolder = true;
      return file;
    })
    .filter((file) => file !== null);
}
