/** Times, durations, numbers and names as the board writes them. Every function is pure. */

const LOCALE = "en-GB";
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const whole = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 1, minimumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat(LOCALE, { hour: "2-digit", minute: "2-digit" });
const clockSeconds = new Intl.DateTimeFormat(LOCALE, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});
const dayMonth = new Intl.DateTimeFormat(LOCALE, { day: "numeric", month: "short" });
const dayMonthYear = new Intl.DateTimeFormat(LOCALE, {
  day: "numeric",
  month: "short",
  year: "numeric",
});

/** Thin spaces group the digits, as in 1 284 331. */
const grouped = (text) => text.replaceAll(",", "\u202f");

/** A whole number with its digits grouped. */
export function number(value) {
  return Number.isFinite(value) ? grouped(whole.format(value)) : "";
}

/** A number and what it counts: "1 job", "3 jobs". */
export function count(value, one, many = `${one}s`) {
  return `${number(value)} ${value === 1 ? one : many}`;
}

/** A number with one place after the point, without it from 100 on. */
export function decimal(value) {
  if (!Number.isFinite(value)) return "";
  return grouped(Math.abs(value) < 100 ? tenth.format(value) : whole.format(value));
}

/** A percentage from 0 to 100, rounded down: 100 % is said only of what is done. */
export function percent(value) {
  return Number.isFinite(value) ? `${Math.floor(value)}\u202f%` : "";
}

/** A size in MB as MB, GB or TB. */
export function size(mb) {
  if (!Number.isFinite(mb)) return "";
  if (mb < 1000) return `${decimal(mb)} MB`;
  return mb < 1e6 ? `${decimal(mb / 1000)} GB` : `${decimal(mb / 1e6)} TB`;
}

/** A duration in milliseconds in its two largest units: "2 h 14 min", "38 h", "12 s". */
export function duration(ms) {
  if (!Number.isFinite(ms)) return "";
  const rest = Math.max(0, ms);
  if (rest < MINUTE) return `${Math.floor(rest / SECOND)} s`;
  if (rest < 10 * MINUTE) return two(rest, MINUTE, "min", SECOND, "s");
  if (rest < HOUR) return `${Math.floor(rest / MINUTE)} min`;
  if (rest < 10 * HOUR) return two(rest, HOUR, "h", MINUTE, "min");
  if (rest < 2 * DAY) return `${Math.floor(rest / HOUR)} h`;
  return two(rest, DAY, "d", HOUR, "h");
}

/** A duration of which only the order counts: "12 min", "2 h", "3 d". */
export function roughly(ms) {
  if (!Number.isFinite(ms)) return "";
  const rest = Math.max(0, ms);
  if (rest < MINUTE) return `${Math.floor(rest / SECOND)} s`;
  if (rest < HOUR) return `${Math.floor(rest / MINUTE)} min`;
  if (rest < 10 * HOUR) return two(rest, HOUR, "h", MINUTE, "min");
  return rest < 2 * DAY ? `${Math.floor(rest / HOUR)} h` : `${Math.floor(rest / DAY)} d`;
}

function two(ms, large, largeUnit, small, smallUnit) {
  const first = Math.floor(ms / large);
  const second = Math.floor((ms - first * large) / small);
  return second ? `${first} ${largeUnit} ${second} ${smallUnit}` : `${first} ${largeUnit}`;
}

/** Milliseconds since 1970 of a time on the wire (RFC 3339), or NaN. */
export function millis(time) {
  return time === null || time === undefined ? NaN : Date.parse(time);
}

/** How long ago a time is: "12 s ago", "now". `now` is in milliseconds. */
export function ago(time, now) {
  const ms = now - millis(time);
  if (Number.isNaN(ms)) return "";
  return ms < SECOND ? "now" : `${roughly(ms)} ago`;
}

/** A time of day, with the day unless it is today: "09:14", "yesterday 09:14", "3 Nov 09:14". */
export function when(time, now, { seconds = false } = {}) {
  const at = typeof time === "number" ? time : millis(time);
  if (Number.isNaN(at)) return "";
  const day = dayOf(at, now);
  const text = (seconds ? clockSeconds : clock).format(at);
  return day ? `${day} ${text}` : text;
}

/** The day of a time as seen from `now`: "" for today, "yesterday", "tomorrow", "3 Nov". */
export function dayOf(at, now) {
  const days = Math.round((midnight(at) - midnight(now)) / DAY);
  if (days === 0) return "";
  if (days === -1) return "yesterday";
  if (days === 1) return "tomorrow";
  const isThisYear = new Date(at).getFullYear() === new Date(now).getFullYear();
  return (isThisYear ? dayMonth : dayMonthYear).format(at);
}

function midnight(at) {
  return new Date(at).setHours(0, 0, 0, 0);
}

/** The exact time, for a title: "2026-11-22 09:30:00.123 (UTC+1)" in the reader's zone. */
export function exactly(time) {
  const at = millis(time);
  if (Number.isNaN(at)) return "";
  const local = new Date(at - new Date(at).getTimezoneOffset() * MINUTE);
  const minutes = -new Date(at).getTimezoneOffset();
  const zone = minutes === 0 ? "UTC" : `UTC${minutes > 0 ? "+" : "−"}${zoneOf(Math.abs(minutes))}`;
  return `${local.toISOString().slice(0, 23).replace("T", " ")} (${zone})`;
}

function zoneOf(minutes) {
  const rest = minutes % 60;
  return `${Math.floor(minutes / 60)}${rest ? `:${String(rest).padStart(2, "0")}` : ""}`;
}

/** An id shortened in its middle; the whole one belongs in the title. */
export function shortId(id, most = 18) {
  const text = String(id);
  if (text.length <= most) return text;
  const head = Math.ceil((most - 1) / 2);
  return `${text.slice(0, head)}…${text.slice(text.length - (most - 1 - head))}`;
}

/** The name of a source: the last part of its path, decoded, or the whole text if it has none. */
export function fileName(url) {
  const text = String(url ?? "");
  const path = text.replace(/[?#].*$/s, "").replace(/\/+$/, "");
  const last = path.slice(path.lastIndexOf("/") + 1);
  if (!last) return text;
  try {
    return decodeURIComponent(last);
  } catch {
    return last;
  }
}

/** What a part of a film is called: "part 3", or "the rest", which is all but its picture. */
export function partName({ part }) {
  return Number.isInteger(part?.number) ? `part ${number(part.number + 1)}` : "the rest";
}

/** The name of a job: that of its source, and of the part of it that it is about. */
export function jobName(job) {
  const name = fileName(job.source_url) || "(empty)";
  return job.parent === undefined ? name : `${name} · ${partName(job)}`;
}

/** A sentence with a capital at its beginning and a full stop at its end. */
export function sentence(text) {
  const trimmed = String(text ?? "").trim();
  if (!trimmed) return "";
  const begun = trimmed[0].toUpperCase() + trimmed.slice(1);
  return /[.!?…]$/.test(begun) ? begun : `${begun}.`;
}

/** A list in words: "a", "a and b", "a, b and c". */
export function listed(words) {
  if (words.length < 2) return words.join("");
  return `${words.slice(0, -1).join(", ")} and ${words[words.length - 1]}`;
}
