/**
 * Charts: series over time as SVG. Nothing here loads or keeps anything.
 *
 * Laws:
 * - A chart is a function of its series and its size. Values that are no numbers count as 0.
 * - What can be seen can be read: `rowsOf` has the same values for a screen reader.
 * - Classes say what a series is, and the style sheet which colour that has.
 */

import { svg } from "./dom.js";

/** A coordinate with at most two decimals, so that attributes stay short. */
export const px = (value) => Math.round(value * 100) / 100;

/** The room that the numbers and times beside the plot take, in px. */
export const MARGIN = { top: 6, right: 4, bottom: 18, left: 34 };

const safe = (value) => (Number.isFinite(value) && value > 0 ? value : 0);

/** The smallest of 1, 2, 5, 10, 20 … that is at least `value`. */
export function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].map((step) => step * power).find((top) => top >= value) ?? power * 10;
}

const STEPS_S = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 14400, 21600, 43200, 86400, 172800, 604800, 1209600,
  2592000, 7776000, 31536000,
];

/** Times in ms to write below a plot: at round local times, at most `most` of them. */
export function timeTicks(from, to, most) {
  const span = Math.max(to - from, 1);
  const step = (STEPS_S.find((s) => span / (s * 1000) <= most) ?? STEPS_S.at(-1)) * 1000;
  const zone = new Date(from).getTimezoneOffset() * 60_000;
  const ticks = [];
  for (let at = Math.ceil((from - zone) / step) * step + zone; at <= to; at += step) ticks.push(at);
  return ticks;
}

/** How a tick is written: a clock time, or a day if the ticks are days apart. */
export function tickText(at, span) {
  const midnight = new Date(at).getHours() === 0 && new Date(at).getMinutes() === 0;
  const form =
    span > 2.5 * 86_400_000 || (midnight && span > 21_600_000)
      ? { weekday: span > 8 * 86_400_000 ? undefined : "short", day: "numeric", month: "short" }
      : { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  if (form.weekday) delete form.month;
  return new Intl.DateTimeFormat("en-GB", form).format(at);
}

/**
 * Draw a chart: `series` is a list of `{name, kind, values, form}` of equal length, where `form` is
 * bars, area or line, and `kind` the class that gives it its colour. Bars are stacked in their
 * order. `from` is the time in ms at which the first step begins, `stepS` the length of one.
 */
export function chartOf({ series, from, stepS, width, height }) {
  const count = Math.max(...series.map(({ values }) => values.length), 1);
  const plot = {
    left: MARGIN.left,
    top: MARGIN.top,
    width: Math.max(width - MARGIN.left - MARGIN.right, 10),
    height: Math.max(height - MARGIN.top - MARGIN.bottom, 10),
  };
  const top = niceTop(highest(series, count));
  const x = (step) => px(plot.left + (plot.width * step) / count);
  const y = (value) => px(plot.top + plot.height * (1 - safe(value) / top));
  return svg(
    "svg",
    { class: "chart-plot", width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    grid(plot, top, y),
    times(plot, from, stepS * 1000 * count),
    ...drawn(series, count, x, y),
    svg("line", { class: "chart-cursor", y1: plot.top, y2: plot.top + plot.height, x1: -9, x2: -9 }),
  );
}

function highest(series, count) {
  let most = 0;
  for (let step = 0; step < count; step += 1) {
    let stacked = 0;
    for (const { values, form } of series) {
      const value = safe(values[step]);
      if (form === "bars") stacked += value;
      most = Math.max(most, value, stacked);
    }
  }
  return most;
}

function grid(plot, top, y) {
  const lines = top > 1 ? [0, top / 2, top] : [0, top];
  return svg(
    "g",
    { class: "chart-grid" },
    lines.map((value) =>
      svg("line", { x1: plot.left, x2: plot.left + plot.width, y1: y(value), y2: y(value) }),
    ),
    lines.map((value) =>
      svg("text", { x: plot.left - 6, y: y(value), dy: "0.32em", "text-anchor": "end" }, short(value)),
    ),
  );
}

const compact = new Intl.NumberFormat("en-GB", { notation: "compact", maximumFractionDigits: 1 });
const short = (value) => compact.format(value);

function times(plot, from, span) {
  const ticks = timeTicks(from, from + span, Math.max(Math.floor(plot.width / 72), 2));
  const at = (time) => px(plot.left + (plot.width * (time - from)) / span);
  const bottom = plot.top + plot.height;
  const fits = (time) => at(time) > plot.left + 12 && at(time) < plot.left + plot.width - 14;
  return svg(
    "g",
    { class: "chart-times" },
    ticks.map((time) => svg("line", { x1: at(time), x2: at(time), y1: bottom, y2: bottom + 3 })),
    ticks
      .filter(fits)
      .map((time) =>
        svg("text", { x: at(time), y: bottom + 14, "text-anchor": "middle" }, tickText(time, span)),
      ),
  );
}

function drawn(series, count, x, y) {
  const stacked = new Array(count).fill(0);
  const shapes = series.map(({ kind, values, form }) => {
    const steps = Array.from({ length: count }, (_, step) => safe(values[step]));
    const path = { bars: bars(stacked), area, line }[form](steps, x, y);
    return { form, shape: svg("path", { class: `chart-${form} ${kind}`, d: path }) };
  });
  const order = ["area", "bars", "line"];
  shapes.sort((one, other) => order.indexOf(one.form) - order.indexOf(other.form));
  return shapes.map(({ shape }) => shape);
}

/** Bars on top of what is `stacked` already; one path for all of them. */
const bars = (stacked) => (steps, x, y) => {
  const gap = x(1) - x(0) > 4 ? 1 : 0;
  return steps
    .map((value, step) => {
      if (!value) return "";
      const low = stacked[step];
      stacked[step] += value;
      const [left, right] = [x(step) + gap / 2, x(step + 1) - gap / 2];
      return `M${px(left)} ${y(low)}V${y(low + value)}H${px(right)}V${y(low)}Z`;
    })
    .join("");
};

const line = (steps, x, y) =>
  steps.map((value, step) => `${step ? "" : `M${x(0)} ${y(value)}`}V${y(value)}H${x(step + 1)}`).join("");

const area = (steps, x, y) => `M${x(0)} ${y(0)}${steps
  .map((value, step) => `V${y(value)}H${x(step + 1)}`)
  .join("")}V${y(0)}Z`;

/** The step below a point of the plot, or null if there is none. `atX` is in px of the chart. */
export function stepAt(atX, width, count) {
  const plot = width - MARGIN.left - MARGIN.right;
  const step = Math.floor(((atX - MARGIN.left) / plot) * count);
  return step >= 0 && step < count ? step : null;
}

/** Show the cursor at a step, or nowhere. */
export function pointAt(chart, step, width, count) {
  const plot = width - MARGIN.left - MARGIN.right;
  const at = step === null ? -9 : px(MARGIN.left + (plot * (step + 0.5)) / count);
  const cursor = chart.querySelector(".chart-cursor");
  cursor.setAttribute("x1", at);
  cursor.setAttribute("x2", at);
}

/**
 * The same series in steps that are `factor` times as long: `sums` says of which values are added;
 * of the others the last one of each step counts.
 */
export function coarser(values, factor, sums) {
  const steps = Math.ceil(values.length / factor);
  return Array.from({ length: steps }, (_, step) => {
    // The last step ends with the last value, so that it is as long as the others.
    const end = values.length - (steps - 1 - step) * factor;
    const part = values.slice(Math.max(end - factor, 0), end).map(safe);
    return sums ? part.reduce((sum, value) => sum + value, 0) : (part.at(-1) ?? 0);
  });
}

/** The rows of the table that says what the chart shows: `[time in ms, value, …]`. */
export function rowsOf({ series, from, stepS }) {
  const count = Math.max(...series.map(({ values }) => values.length), 0);
  return Array.from({ length: count }, (_, step) => [
    from + step * stepS * 1000,
    ...series.map(({ values }) => safe(values[step])),
  ]);
}
