/**
 * The key of this tab. It is kept in the tab's session storage alone; a one-time token in the
 * fragment of the address is redeemed for one (`dispatcher board` makes such links).
 */

import { ApiError } from "./api.js";
import { el, setText } from "./dom.js";

const STORED = "dispatcher key";

/** The key that this tab has, or null. */
export function storedKey() {
  return window.sessionStorage.getItem(STORED);
}

/** Keeps a key for this tab; null forgets it. */
export function storeKey(key) {
  if (key === null) window.sessionStorage.removeItem(STORED);
  else window.sessionStorage.setItem(STORED, key);
}

/**
 * Redeems the token in the address, if there is one, and takes it out of the address. Returns why it
 * could not be redeemed, or null.
 */
export async function redeem(api) {
  const token = new URLSearchParams(window.location.hash.slice(1)).get("token");
  if (token === null) return null;
  const { pathname, search } = window.location;
  window.history.replaceState(null, "", pathname + search);
  try {
    const answer = await api.request("/sign_in/redeem", { method: "POST", body: { token } });
    const { key } = await answer.json();
    storeKey(key);
    api.key = key;
    return null;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return error.status === 404
      ? "This link was used already or is too old. Run “dispatcher board” for another one."
      : error.text;
  }
}

/** Why the holder of a key, as `GET /key` says it, can't use the board; null if he can. */
export function refusalOf({ name, role }) {
  if (role === "client" || role === "operator") return null;
  return `The key “${name}” has the role “${role}”. The board needs the key of a client or an operator.`;
}

/** The form that asks for a key; `why` says why, and `onKey(key)` is given what was entered. */
export function signInForm(why, onKey) {
  const field = el("input", {
    id: "key",
    name: "key",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    "aria-describedby": "key-why",
  });
  const reason = el("p", { id: "key-why", class: "weak", role: "alert" }, why);
  const button = el("button", { class: "button primary", type: "submit" }, "Sign in");
  const submit = async (event) => {
    event.preventDefault();
    const key = field.value.trim();
    if (!key) return;
    if (!/^[\x20-\x7e]+$/.test(key)) {
      setText(reason, "A key has only letters, digits and signs of ASCII. Was it copied whole?");
      return;
    }
    button.disabled = true;
    setText(reason, (await onKey(key)) ?? "");
    button.disabled = false;
    field.select();
  };
  return el(
    "form",
    { class: "sign-in panel", onsubmit: submit, "aria-labelledby": "sign-in-title" },
    el("h1", { id: "sign-in-title" }, "Sign in to this farm"),
    reason,
    el("label", { for: "key" }, "Key"),
    field,
    button,
    el(
      "p",
      { class: "weak" },
      "The key stays in this tab and is gone when the tab is closed. On the dispatcher’s machine, ",
      el("code", {}, "dispatcher board"),
      " opens the board signed in; ",
      el("code", {}, "dispatcher key new NAME --role client"),
      " makes a key.",
    ),
  );
}
