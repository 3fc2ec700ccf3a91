/**
 * The one dialog that asks before work is destroyed.
 *
 * Laws:
 * - It says what will be done, and to how many; the button that does it says so too.
 * - The focus begins on the harmless button, stays in the dialog, and returns to where it was.
 * - Escape, the harmless button and another question mean no.
 */

import { el } from "./dom.js";

/** As many of the things as are named one by one. */
const NAMED = 5;

let open = null;

/**
 * Ask, and give whether the answer was yes. `title` is the question, `text` what will follow, `act`
 * the name of the button that does it, `keep` that of the harmless one, and `items` names what it
 * is about, of which the first few are shown.
 */
export function ask({ title, text = "", act, keep = "Keep", items = [] }) {
  open?.close();
  const before = document.activeElement;
  const no = el("button", { type: "button", class: "button" }, keep);
  const yes = el("button", { type: "button", class: "button danger" }, act);
  const more = items.length - NAMED;
  const dialog = el(
    "dialog",
    { class: "ask", role: "alertdialog", "aria-labelledby": "ask-title", "aria-describedby": "ask-text" },
    el("h2", { id: "ask-title" }, title),
    el(
      "div",
      { id: "ask-text" },
      text ? el("p", {}, text) : "",
      items.length
        ? el(
            "ul",
            {},
            ...items.slice(0, NAMED).map((item) => el("li", {}, String(item))),
            ...(more > 0 ? [el("li", { class: "weak" }, `and ${more} more`)] : []),
          )
        : "",
    ),
    el("div", { class: "ask-buttons" }, no, yes),
  );
  return new Promise((answer) => {
    no.addEventListener("click", () => dialog.close());
    yes.addEventListener("click", () => dialog.close("yes"));
    dialog.addEventListener("keydown", (event) => {
      event.stopPropagation(); // the keys of the page are not those of the dialog
      if (event.key === "Tab") keepInside(event, [no, yes]);
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (open === dialog) open = null;
      if (before?.isConnected) before.focus();
      answer(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    open = dialog;
    dialog.showModal();
    no.focus();
  });
}

function keepInside(event, [first, last]) {
  const leaves = event.shiftKey ? document.activeElement === first : document.activeElement === last;
  if (!leaves) return;
  event.preventDefault();
  (event.shiftKey ? last : first).focus();
}
