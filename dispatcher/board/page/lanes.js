/**
 * A job's timeline on the screen: a table with a row for each attempt, whose lane is drawn to scale.
 *
 * Laws:
 * - All lanes have one scale, that of the axis above them.
 * - What is drawn is also told: a row says who, when, how long and why it ended, and a marker says its
 *   event. The markers are one stop of the keyboard; the arrows go from one to the next.
 * - It draws what `timelineOf` gives, and asks for nothing.
 */

import { px, tickText, timeTicks } from "./charts.js";
import { el, fill, set, setText, svg } from "./dom.js";
import { shape } from "./states.js";
import { progressAt } from "./timeline.js";
import { duration, exactly, percent, when } from "./words.js";

const LANE = 28;
const BAR = 12;
const EDGE = 8;
/** As many of the newest attempts as are drawn before one asks for all. */
const NEWEST = 20;

/** The shape of the marker of an event. */
const SHAPES = {
  job_submitted: "pending",
  job_assigned: "working",
  job_completed: "completed",
  job_failed_permanently: "failed_permanently",
  job_cancelled: "cancelled",
  job_retried: "pending",
  job_released: "pending",
  job_reprioritized: "draining",
  answer_refused: "blocked",
};
const ENDINGS = { failed: "failed_permanently", lost: "silent", returned: "draining" };
const WORDS = { running: "under way", returned: "given back" };

export class Lanes {
  /** `engineLink` makes a link to an engine. */
  constructor(engineLink) {
    this.engineLink = engineLink;
    this.timeline = null;
    this.range = "whole";
    this.all = false;
    this.focused = null; // seq of the marker that is the stop of the keyboard
    this.axis = el("div", { role: "columnheader", class: "lane-axis", "aria-label": "Lane" });
    this.rows = el("div", { role: "rowgroup", class: "lane-rows" });
    this.detail = el("p", { class: "lane-detail weak" });
    this.more = el("button", { type: "button", class: "quiet", hidden: true, onclick: () => this.#showAll() });
    this.ranges = el("div", { class: "segmented", role: "group", "aria-label": "Span of the timeline" });
    const heading = (name, text) => el("div", { role: "columnheader", class: `lane-${name}` }, text);
    this.node = el(
      "div",
      { class: "lanes" },
      this.ranges,
      el(
        "div",
        { role: "table", "aria-label": "Attempts", class: "lane-table" },
        el(
          "div",
          { role: "rowgroup" },
          el(
            "div",
            { role: "row", class: "lane-row lane-head" },
            heading("who", "Attempt"),
            this.axis,
            heading("took", "Took"),
            heading("why", "How it ended"),
          ),
        ),
        this.rows,
      ),
      this.more,
      this.detail,
    );
    this.node.addEventListener("keydown", (event) => this.#onKey(event));
    this.observer = new ResizeObserver(() => this.#draw());
    this.observer.observe(this.axis);
  }

  /** Let go of what watches the size. */
  disconnect() {
    this.observer.disconnect();
  }

  /** Show a timeline as of `now` (ms). */
  show(timeline, now) {
    this.timeline = timeline;
    this.now = now;
    this.#draw();
  }

  #showAll() {
    this.all = true;
    this.#draw();
  }

  #draw() {
    const { timeline } = this;
    const width = Math.floor(this.axis.clientWidth);
    if (!timeline?.markers.length || width < 40) return;
    this.#drawRanges();
    const [from, to] = spanOf(timeline, this.range);
    const scale = { from, to, width, x: (time) => EDGE + ((width - 2 * EDGE) * (time - from)) / (to - from) };
    const held = this.node.contains(document.activeElement) && document.activeElement.dataset.seq;
    const lanes = this.all ? timeline.lanes : timeline.lanes.slice(-NEWEST);
    fill(this.axis, axisOf(scale));
    fill(this.rows, this.#queueRow(scale), lanes.map((lane) => this.#laneRow(lane, scale)));
    const hidden = timeline.lanes.length - lanes.length;
    set(this.more, "hidden", hidden === 0);
    setText(this.more, `Show ${hidden} earlier ${hidden === 1 ? "attempt" : "attempts"}`);
    this.#stop(held);
  }

  #drawRanges() {
    const choices = { whole: "Whole life" };
    if (this.timeline.lanes.length) choices.last = "Last attempt";
    if (this.timeline.lanes.length > 1) choices.attempts = "All attempts";
    if (!(this.range in choices)) this.range = "whole";
    const key = Object.keys(choices).join();
    if (this.ranges.dataset.key !== key) {
      this.ranges.dataset.key = key;
      const choose = (name) => () => {
        this.range = name;
        this.#draw();
      };
      fill(
        this.ranges,
        Object.entries(choices).map(([name, text]) =>
          el("button", { type: "button", "data-range": name, onclick: choose(name) }, text),
        ),
      );
    }
    for (const button of this.ranges.children) {
      set(button, "aria-pressed", String(button.dataset.range === this.range));
    }
    set(this.ranges, "hidden", this.ranges.children.length < 2);
  }

  #queueRow(scale) {
    const { waits, markers, to } = this.timeline;
    const waited = waits.reduce((sum, wait) => sum + ((wait.to ?? to) - wait.from), 0);
    const drawing = drawingOf(
      scale,
      waits.map((wait) => {
        const [left, right] = clipped(wait.from, wait.to ?? to, scale);
        return svg("line", { class: `lane-wait ${wait.kind}`, x1: left, x2: right, y1: LANE / 2, y2: LANE / 2 });
      }),
      markers.filter(({ attempt }) => attempt === null).map((marker) => this.#marker(marker, scale, "pending")),
    );
    const pauses = waits.filter(({ kind }) => kind === "pausing").length;
    const why = pauses ? `paused ${pauses === 1 ? "once" : `${pauses} times`}` : "";
    return row("in the queue", "", drawing, duration(waited), why, "queue");
  }

  #laneRow(lane, scale) {
    const end = lane.to ?? this.timeline.to;
    const [left, right] = clipped(lane.from, end, scale);
    const top = (LANE - BAR) / 2;
    const drawing = drawingOf(
      scale,
      svg("rect", { class: `lane-bar ${lane.end}`, x: left, width: Math.max(right - left, 2), y: top, height: BAR, rx: 2 }),
      progressOf(lane, end, scale, top),
      lane.heard.length <= scale.width / 3
        ? lane.heard.map((time) =>
            inside(time, scale) ? svg("line", { class: "lane-heard", x1: px(scale.x(time)), x2: px(scale.x(time)), y1: top + BAR + 2, y2: top + BAR + 5 }) : null,
          )
        : [],
      silenceOf(lane, scale, top),
      this.timeline.markers
        .filter(({ attempt }) => attempt === lane.attempt)
        .map((marker) => this.#marker(marker, scale, lane.end)),
    );
    drawing.addEventListener("pointermove", (event) => this.#hover(event, lane, scale));
    const why = WORDS[lane.end] && lane.why === lane.end ? WORDS[lane.end] : lane.why;
    const silent = lane.silence && lane.silence.s >= 1 ? ` (silent for ${duration(lane.silence.s * 1000)})` : "";
    const who = [el("span", { class: "lane-number" }, String(lane.attempt)), " ", this.engineLink(lane.engine)];
    return row(who, when(lane.from, this.now), drawing, duration(end - lane.from), why + silent, lane.end);
  }

  #marker(marker, scale, end) {
    if (!inside(marker.time, scale)) return null;
    const name = SHAPES[marker.type] ?? ENDINGS[end] ?? "idle";
    const tone = ENDINGS[end] || end === "failed" ? end : "";
    const iso = new Date(marker.time).toISOString();
    const at = px(scale.x(marker.time));
    const drawn = shape(name);
    for (const [key, value] of Object.entries({ x: -6, y: -6, width: 12, height: 12 })) set(drawn, key, value);
    const text = `${marker.text}, ${exactly(iso)}, seq ${marker.seq}`;
    const node = svg(
      "g",
      {
        class: `lane-marker ${marker.type} ${tone}`,
        transform: `translate(${at} ${LANE / 2})`,
        role: "img",
        "aria-label": text,
        tabindex: -1,
        "data-seq": marker.seq,
      },
      svg("circle", { class: "lane-hit", r: 9 }),
      drawn,
    );
    const tell = () => this.#tell(marker);
    node.addEventListener("focus", () => {
      this.#stop(marker.seq, { focus: false });
      tell();
    });
    node.addEventListener("pointerenter", tell);
    node.addEventListener("click", () => node.focus());
    return node;
  }

  #tell(marker) {
    setText(this.detail, `${when(marker.time, this.now, { seconds: true })} · ${marker.text} · seq ${marker.seq}`);
  }

  #hover(event, lane, scale) {
    if (event.target.closest(".lane-marker")) return;
    const box = event.currentTarget.getBoundingClientRect();
    const time = scale.from + ((event.clientX - box.left - EDGE) / (scale.width - 2 * EDGE)) * (scale.to - scale.from);
    if (time < lane.from || time > (lane.to ?? this.timeline.to)) return;
    const reached = progressAt(lane, time);
    const at = reached === null ? "had told no progress yet" : `was at ${percent(reached)}`;
    setText(this.detail, `${when(time, this.now, { seconds: true })} · ${lane.engine} ${at}`);
  }

  /** Make one marker the stop of the keyboard: that of `seq`, else the last. */
  #stop(seq = null, { focus = seq !== null && seq !== undefined && seq !== false } = {}) {
    const all = this.#inOrder();
    const wanted = String(seq || this.focused || "");
    const chosen = all.find((node) => node.dataset.seq === wanted) ?? all.at(-1);
    for (const node of all) node.setAttribute("tabindex", node === chosen ? 0 : -1);
    if (!chosen) return;
    this.focused = chosen.dataset.seq;
    if (focus && document.activeElement !== chosen) chosen.focus();
    if (!this.detail.textContent) {
      this.#tell(this.timeline.markers.find((marker) => String(marker.seq) === chosen.dataset.seq));
    }
  }

  #inOrder() {
    const all = [...this.rows.querySelectorAll(".lane-marker")];
    return all.sort((one, other) => Number(one.dataset.seq) - Number(other.dataset.seq));
  }

  #onKey(event) {
    const all = this.#inOrder();
    const at = all.indexOf(document.activeElement);
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const to = { ArrowLeft: at - 1, ArrowUp: at - 1, ArrowRight: at + 1, ArrowDown: at + 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    all[Math.min(Math.max(to, 0), all.length - 1)].focus();
  }
}

function row(who, began, drawing, took, why, kind) {
  return el(
    "div",
    { role: "row", class: `lane-row ${kind}` },
    el("div", { role: "cell", class: "lane-who" }, who, began ? el("span", { class: "lane-began weak" }, ` ${began}`) : ""),
    el("div", { role: "cell", class: "lane-drawing" }, drawing),
    el("div", { role: "cell", class: "lane-took" }, took),
    el("div", { role: "cell", class: "lane-why", title: why }, why),
  );
}

/** The time that is shown: of the whole life, of all attempts, or of the last one; never empty. */
function spanOf({ from, to, lanes }, range) {
  const first = range === "last" ? lanes.at(-1) : range === "attempts" ? lanes[0] : null;
  const begin = first ? first.from : from;
  const end = first && lanes.at(-1).to !== null ? Math.max(lanes.at(-1).to, lanes.at(-1).silence?.to ?? 0) : to;
  return [begin, Math.max(end, begin + 1000)];
}

const inside = (time, { from, to }) => time >= from && time <= to;

const clipped = (from, to, scale) =>
  [from, to].map((time) => px(scale.x(Math.min(Math.max(time, scale.from), scale.to))));

function drawingOf({ width }, ...shapes) {
  return svg("svg", { class: "lane-svg", width, height: LANE, viewBox: `0 0 ${width} ${LANE}` }, ...shapes);
}

function axisOf(scale) {
  const ticks = timeTicks(scale.from, scale.to, Math.max(Math.floor(scale.width / 80), 2));
  const span = scale.to - scale.from;
  const write = span < 300_000 ? (time) => when(time, time, { seconds: true }) : (time) => tickText(time, span);
  const fits = (time) => scale.x(time) > 20 && scale.x(time) < scale.width - 20;
  return svg(
    "svg",
    { class: "lane-svg lane-ticks", width: scale.width, height: 20, viewBox: `0 0 ${scale.width} 20`, "aria-hidden": "true" },
    ticks.map((time) => svg("line", { x1: px(scale.x(time)), x2: px(scale.x(time)), y1: 16, y2: 20 })),
    ticks.filter(fits).map((time) => svg("text", { x: px(scale.x(time)), y: 12, "text-anchor": "middle" }, write(time))),
  );
}

/** What the attempt had told of its progress, as a surface that rises in its bar. */
function progressOf(lane, end, scale, top) {
  if (!lane.progress.length) return null;
  const [left, right] = clipped(lane.from, end, scale);
  const y = (percentage) => px(top + BAR * (1 - Math.min(Math.max(percentage, 0), 100) / 100));
  const points = lane.progress
    .filter(([time]) => time <= end)
    .map(([time, reached]) => `H${clipped(time, time, scale)[0]}V${y(reached)}`);
  return svg("path", {
    class: `lane-progress ${lane.end}`,
    d: `M${left} ${top + BAR}${points.join("")}H${right}V${top + BAR}Z`,
  });
}

/** The silence for which an attempt was lost, up to the end of its engine's lease. */
function silenceOf(lane, scale, top) {
  if (!lane.silence || lane.silence.s < 1) return null;
  const [left, right] = clipped(lane.silence.from, lane.silence.to, scale);
  const dashes = [];
  for (let at = left; at < right; at += 5) {
    const end = Math.min(at + BAR, right);
    dashes.push(`M${px(at)} ${top + BAR}L${px(end)} ${px(top + BAR - (end - at))}`);
  }
  return svg(
    "g",
    { class: "lane-silence" },
    svg("rect", { x: left, width: Math.max(right - left, 1), y: top, height: BAR }),
    svg("path", { d: dashes.join("") }),
    svg("line", { class: "lane-lease", x1: right, x2: right, y1: top - 5, y2: top + BAR + 5 }),
  );
}
