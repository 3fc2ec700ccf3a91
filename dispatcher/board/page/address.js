/**
 * The address of what one sees: the view, what it is of, its filters and the moment.
 *
 *     /?view=jobs&status=failed_permanently&as_of=2026-11-22T09:14:00Z
 *
 * All of it is in the address, so that a link shows what its sender saw.
 */

const VIEWS = ["farm", "jobs", "engines", "job", "engine", "log", "submit"];
/** The views of one thing, which an address must name. */
const OF_ONE = new Set(["job", "engine"]);
const RESERVED = new Set(["view", "id", "as_of"]);

/**
 * Reads an address: `{view, id, filters: URLSearchParams, moment: null | string}`. One that names no
 * view, or a view of one thing without its id, is that of the farm.
 */
export function read(search = window.location.search) {
  const given = new URLSearchParams(search);
  const id = given.get("id");
  const asked = given.get("view");
  const view = VIEWS.includes(asked) && (id || !OF_ONE.has(asked)) ? asked : "farm";
  const filters = new URLSearchParams([...given].filter(([name]) => !RESERVED.has(name)));
  return { view, id: view === "farm" ? null : id, filters, moment: given.get("as_of") || null };
}

/** Writes an address as a link. What is left out of `address` has its default. */
export function href({ view = "farm", id = null, filters = null, moment = null } = {}) {
  const query = new URLSearchParams();
  if (view !== "farm") query.set("view", view);
  if (id !== null) query.set("id", id);
  for (const [name, value] of filters ?? []) if (value !== "") query.append(name, value);
  if (moment !== null) query.set("as_of", moment);
  const text = query.toString().replaceAll("%3A", ":").replaceAll("%2C", ",");
  return text ? `/?${text}` : "/";
}

/** A link to a view that keeps the moment, and the wall if this is one. */
export function link(address) {
  const here = read();
  const wall = here.filters.get("wall");
  const filters = new URLSearchParams(address.filters ?? []);
  if (wall && !filters.has("wall")) filters.set("wall", wall);
  return href({ moment: here.moment, ...address, filters });
}

/** Goes to a link of the board without loading the page anew. */
export function go(to, { replace = false } = {}) {
  if (replace) window.history.replaceState(null, "", to);
  else window.history.pushState(null, "", to);
  window.dispatchEvent(new Event("addresschange"));
}

/** Goes to the same view with other filters; `null` or "" takes one out. */
export function refine(changes, { replace = true } = {}) {
  const address = read();
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") address.filters.delete(name);
    else address.filters.set(name, value);
  }
  go(href(address), { replace });
}
