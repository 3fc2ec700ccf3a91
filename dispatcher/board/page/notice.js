/** Short messages at the foot of the page, which a screen reader reads out. */

import { el } from "./dom.js";

const SHOWN_MS = 6_000;
const MOST = 3;

/**
 * Says what was done. With `{ bad: true }` it is something that failed: it stays until it is closed.
 */
export function say(text, { bad = false } = {}) {
  const notices = document.getElementById("notices");
  const close = el("button", { class: "quiet", "aria-label": "Close this message" }, "×");
  const notice = el("p", { class: bad ? "notice bad" : "notice" }, el("span", {}, text), close);
  const end = () => notice.remove();
  close.addEventListener("click", end);
  notices.append(notice);
  while (notices.children.length > MOST) notices.firstChild.remove();
  if (!bad) setTimeout(end, SHOWN_MS);
}
