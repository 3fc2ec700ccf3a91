/** Sentences of `telling.js` as nodes: the jobs and engines that they speak of are links. */

import { link } from "./address.js";
import { el } from "./dom.js";
import { shortId } from "./words.js";

/** The nodes of a sentence. Of a view that is of one job itself, jobs need be no links. */
export function sentenceOf(parts, { jobs = true, engines = true } = {}) {
  return parts.map((part) => {
    if (typeof part === "string") return part;
    const [view, id] = part.job === undefined ? ["engine", part.engine] : ["job", part.job];
    const text = view === "job" ? shortId(id) : id;
    if (view === "job" ? !jobs : !engines) return el("span", { title: id }, text);
    return el("a", { href: link({ view, id }), title: id }, text);
  });
}
