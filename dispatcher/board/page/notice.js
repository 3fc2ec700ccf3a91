/** Short messages: at the foot of the page, or for a screen reader alone. */

import { el, setText } from "./dom.js";

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

/** Says something to a screen reader, of what the eye sees anyway: how many jobs match, say. */
export function announce(text) {
  let place = document.getElementById("announced");
  if (place === null) {
    place = el("p", { id: "announced", class: "visually-hidden", role: "status" });
    document.body.append(place);
  }
  setText(place, text);
}
