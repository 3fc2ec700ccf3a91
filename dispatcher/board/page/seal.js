/**
 * The seal beside the seq: whether this browser has verified that the log has only grown.
 *
 * Laws:
 * - Grey: not looked at, nothing to compare with, or a look that decided nothing. Accent: verified.
 *   Red: the log contradicts itself; then both roots stand in the bar, and nothing on the page takes
 *   them away. Red also: another log with another key is here, until a person takes it as right.
 * - It is looked at when the farm is loaded, when the connection is there again after a loss, since
 *   the log may be another one then, and when somebody asks. Nothing is polled.
 */

import { link } from "./address.js";
import { el, fill, svg } from "./dom.js";
import { Proof } from "./proof.js";
import { count, number } from "./words.js";

let proof = null;

/** The one proof of this page. */
export function proofOf(store) {
  proof ??= new Proof(async (path) => (await store.api.request(path)).text());
  return proof;
}

/** Show the seal in `place` from when the store is loaded. */
export function showSeal(place, store) {
  const proof = proofOf(store);
  const draw = () => fill(place, sealOf(proof));
  proof.addEventListener("change", draw);
  draw();
  let [looks, replacements] = [null, store.replacements];
  store.subscribe(() => {
    if (store.replacements !== replacements) proof.doubt();
    replacements = store.replacements;
    const wanted = store.returns + store.replacements;
    if (store.loading || store.who === null || store.fault !== null || wanted === looks) return;
    looks = wanted;
    proof.verify();
  });
}

function sealOf(proof) {
  const { colour, state } = proof;
  const text = { grey: "not verified", accent: "verified", red: "not the log it was" }[colour];
  const label = `${text}. ${sentenceOf(state)}`;
  const seal = el(
    "a",
    { class: `seal seal-${colour}`, href: link({ view: "log" }), title: sentenceOf(state), "aria-label": label },
    svg("svg", { viewBox: "0 0 12 12", class: "shape", "aria-hidden": "true" }, ...SHAPES[colour]()),
    colour === "red" ? el("strong", {}, text) : "",
  );
  if (colour !== "red") return seal;
  if (!state.refuted) return [seal, el("span", { class: "seal-roots mono" }, ` ${state.replaced.name} → ${state.key.text.split("+")[0]}`)];
  const { old, new: newer } = state.refuted;
  const root = (it) => `${it?.size === null || it === null ? "?" : number(it.size)}: ${(it?.root ?? "?").slice(0, 12)}…`;
  return [seal, el("span", { class: "seal-roots mono" }, ` ${root(old)} → ${root(newer)}`)];
}

const OUTLINE = "M6 1 10.5 2.7V6c0 2.6-1.9 4.3-4.5 5.2C3.4 10.3 1.5 8.6 1.5 6V2.7Z";
const SHAPES = {
  grey: () => [svg("path", { d: OUTLINE, class: "stroke" })],
  accent: () => [svg("path", { d: OUTLINE, class: "stroke" }), svg("path", { d: "M3.8 6.1 5.4 7.7 8.3 4.4", class: "stroke" })],
  red: () => [svg("path", { d: OUTLINE, class: "solid" }), svg("path", { d: "M6 3.6V6.6M6 8V8.4", class: "cut" })],
};

/** What is known of the log, in a sentence. */
export function sentenceOf({ outcome, behind, refuted, replaced, error }) {
  if (refuted) return `This browser has proof that the log was not only added to: ${refuted.why}.`;
  if (replaced) {
    return (
      `This address had another log before, ${replaced.name}${replaced.size ? ` with ${count(replaced.size, "event")}` : ""}, signed with another key. ` +
      "If nobody has begun a new log here, somebody has replaced it together with its key."
    );
  }
  if (error) return `It could not be verified: ${error}`;
  if (behind) {
    const before = behind.isRemembered ? "this browser has seen" : "the checkpoint has";
    return (
      `The log has ${count(behind.now.size, "event")}, fewer than the ${number(behind.old.size)} that ${before}. ` +
      "It may be a replica that is behind, or have been restored from a backup; whether it begins as the longer one did can’t be verified."
    );
  }
  if (outcome?.kind === "begun") return `This browser remembers the log as it is, with ${count(outcome.to, "event")}.`;
  if (outcome?.kind === "remembered" && !outcome.isPasted) {
    return outcome.to
      ? `This browser sees the log for the first time, and remembers its ${count(outcome.to, "event")}.`
      : "The log has no events yet.";
  }
  if (!outcome) return "The log was not looked at yet.";
  if (outcome.isPasted) {
    return outcome.from
      ? `The log has only grown, by ${count(outcome.to - outcome.from, "event")}, since the checkpoint of ${count(outcome.from, "event")}.`
      : "A checkpoint of no events can’t be compared with.";
  }
  const grown = outcome.to - outcome.from;
  return grown
    ? `The log has only grown, by ${count(grown, "event")}, since this browser saw ${number(outcome.from)}.`
    : `The log is the one of ${count(outcome.to, "event")} that this browser saw before.`;
}
