/**
 * Rows of which only those in sight are in the document, so that ten thousand cost as much as fifty.
 *
 * Laws:
 * - All rows have one height, and the page scrolls, not the list.
 * - A row is made once and drawn again for other items. Drawing writes only what has changed.
 * - The document is measured before anything is written, and at most once a frame.
 * - One row is in the order of the Tab key; arrow keys, j and k go from row to row. It stays in the
 *   document while it has the focus, however far one scrolls.
 */

import { el, set } from "./dom.js";

const BEYOND = 12; // rows above and below the window
const FADE_MS = 2_500;

export class Rows {
  #columns;
  #options;
  #entries = [];
  #places = new Map(); // id → index
  #shown = new Map(); // index → row in the document
  #spare = [];
  #height = 28;
  #current = 0;
  #frame = null;
  #body;
  #probe;
  #watch;

  /**
   * `columns`: `{name, head, width, make(), draw(cell, item), class, sort}`, of which `sort` names the
   * order that the head offers, or is missing. `options`: `label`; `onSort(name)`; `get(id)`,
   * the item or undefined; `open(id)`, what Enter does; `meaning(item)`, a text of which a change is
   * marked; `selection`, a Set of ids, if rows can be selected; `onSelect()`; `onEnd()`, called when
   * the last rows come in sight; `describe(row, item)`, which may set attributes of the row.
   */
  constructor(columns, options) {
    this.#columns = columns;
    this.#options = options;
    this.#probe = el("div", { class: "row probe", "aria-hidden": "true" });
    this.#body = el("div", { class: "rows-body", role: "rowgroup" });
    const head = el(
      "div",
      { class: "rows-head", role: "row", "aria-rowindex": "1" },
      columns.map((column) => this.#headCell(column)),
    );
    this.head = head;
    this.element = el(
      "div",
      {
        class: `rows ${options.class ?? ""}`,
        role: "grid",
        "aria-label": options.label,
        "aria-readonly": "true",
        "aria-multiselectable": options.selection ? "true" : null,
        "aria-colcount": columns.length,
        vars: { "--columns": columns.map(({ width }) => width).join(" ") },
      },
      el("div", { role: "rowgroup" }, head),
      this.#body,
    );
    this.#body.addEventListener("click", (event) => this.#clicked(event));
    this.#body.addEventListener("dblclick", (event) => this.#doubleClicked(event));
    this.#body.addEventListener("focusin", (event) => this.#focused(event));
  }

  /** Begins to follow the window; returns what ends that. */
  connect() {
    const later = () => this.#later();
    const resized = () => {
      this.#measure();
      this.#later();
    };
    window.addEventListener("scroll", later, { passive: true });
    window.addEventListener("resize", resized);
    this.#watch = new ResizeObserver(later);
    this.#watch.observe(document.body);
    this.#measure();
    return () => {
      window.removeEventListener("scroll", later);
      window.removeEventListener("resize", resized);
      this.#watch.disconnect();
    };
  }

  get ids() {
    return this.#entries.filter((entry) => typeof entry === "string");
  }

  get length() {
    return this.#entries.length;
  }

  has(id) {
    return this.#places.has(id);
  }

  /** The id of the row that keys are about, or null. */
  get current() {
    const entry = this.#entries[this.#current];
    return typeof entry === "string" ? entry : null;
  }

  /**
   * Shows these entries in this order: ids, and `{group}` with a node maker for headings between.
   * `total` is how many rows there are, if more are to come: -1 if that is not known.
   */
  setEntries(entries, total = entries.length) {
    const kept = this.current;
    this.#entries = entries;
    this.#places = new Map(entries.map((entry, index) => [entry, index]));
    this.#current = this.#places.get(kept) ?? Math.min(this.#current, Math.max(0, entries.length - 1));
    if (typeof this.#entries[this.#current] !== "string") this.#current = this.#next(this.#current, 1);
    set(this.element, "aria-rowcount", total < 0 ? -1 : total + 1);
    this.#body.style.setProperty("block-size", `${entries.length * this.#height}px`);
    this.draw();
  }

  /** Draws the rows of these ids that are in sight; null means all of them. */
  touch(ids = null) {
    for (const row of this.#shown.values()) {
      if (ids === null || ids.has(row.id)) this.#drawRow(row);
    }
  }

  /** Puts the rows in place that are in sight now. */
  draw() {
    if (!this.element.isConnected) return;
    const top = this.#body.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(-top / this.#height) - BEYOND);
    const last = Math.min(
      this.#entries.length,
      Math.ceil((window.innerHeight - top) / this.#height) + BEYOND,
    );
    const wanted = new Set();
    for (let index = first; index < last; index += 1) wanted.add(index);
    const focused = this.#rowOf(document.activeElement);
    if (focused && this.#places.has(focused.id)) wanted.add(this.#places.get(focused.id));
    for (const [index, row] of this.#shown) {
      if (wanted.has(index) && row.entry === this.#entries[index]) continue;
      this.#shown.delete(index);
      row.node.remove();
      if (!row.isGroup) this.#spare.push(row);
    }
    for (const index of wanted) if (!this.#shown.has(index)) this.#place(index);
    this.#spare.length = 0;
    if (focused && !focused.node.isConnected && this.current !== null) this.focus();
    if (last >= this.#entries.length - BEYOND) this.#options.onEnd?.();
  }

  /** Handles a key that is about rows; gives whether it was one. */
  onKey(event) {
    const page = Math.max(1, Math.floor(window.innerHeight / this.#height) - 4);
    const steps = {
      j: 1,
      ArrowDown: 1,
      k: -1,
      ArrowUp: -1,
      PageDown: page,
      PageUp: -page,
      Home: -Infinity,
      End: Infinity,
    };
    const isInside = this.#body.contains(document.activeElement);
    const isPaging = !["j", "k"].includes(event.key);
    if (event.key in steps && (isInside || !isPaging)) {
      this.move(isInside || steps[event.key] < 0 ? steps[event.key] : 0);
      return true;
    }
    if (this.current === null) return false;
    if (event.key === "Enter" && document.activeElement?.classList.contains("row") && isInside) {
      this.#options.open?.(this.current);
      return true;
    }
    if (["x", "X"].includes(event.key) && this.#options.selection) {
      if (event.shiftKey || event.key === "X") this.#extend(this.#current);
      else this.#toggle(this.#current);
      return true;
    }
    return false;
  }

  /** Goes some rows on, and gives the row the focus. */
  move(step) {
    if (this.#entries.length === 0) return;
    const target = Math.min(Math.max(this.#current + step, 0), this.#entries.length - 1);
    this.focus(this.#next(target, step < 0 ? -1 : 1));
  }

  /** Gives the row at a place the focus, and scrolls it into sight. */
  focus(index = this.#current) {
    const former = this.#shown.get(this.#current);
    if (former) former.node.tabIndex = -1;
    this.#current = index;
    if (!this.#shown.has(index)) {
      const top = this.#body.getBoundingClientRect().top + window.scrollY;
      window.scrollTo({ top: top + index * this.#height - window.innerHeight / 2, behavior: "instant" });
      this.draw();
    }
    const row = this.#shown.get(index);
    if (!row) return;
    row.node.tabIndex = 0;
    row.node.focus({ preventScroll: true });
    row.node.scrollIntoView({ block: "nearest", behavior: "instant" });
  }

  #next(index, direction) {
    let at = index;
    while (at >= 0 && at < this.#entries.length && typeof this.#entries[at] !== "string") at += direction;
    if (at >= 0 && at < this.#entries.length) return at;
    return this.#entries.findIndex((entry) => typeof entry === "string");
  }

  #headCell({ head, class: named, name, sort }) {
    const press = () => this.#options.onSort(sort);
    const shown = sort ? el("button", { type: "button", class: "sort", onclick: press }, head) : head;
    return el(
      "div",
      { role: "columnheader", class: named ?? null, "data-column": name, "data-sort": sort ?? null },
      shown,
    );
  }

  /** Says in the head by which column the rows are sorted: `order` is ascending or descending. */
  drawSort(name, order) {
    for (const cell of this.head.children) {
      if (cell.dataset.sort) set(cell, "aria-sort", cell.dataset.sort === name ? order : "none");
    }
  }

  #measure() {
    this.element.append(this.#probe);
    const height = this.#probe.getBoundingClientRect().height;
    this.#probe.remove();
    if (height > 0 && height !== this.#height) {
      this.#height = height;
      for (const row of this.#shown.values()) row.node.remove();
      this.#shown.clear();
      this.#body.style.setProperty("block-size", `${this.#entries.length * height}px`);
    }
  }

  #later() {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      this.draw();
    });
  }

  #place(index) {
    const entry = this.#entries[index];
    const isGroup = typeof entry !== "string";
    const row = (isGroup ? null : this.#spare.pop()) ?? this.#make(isGroup, entry);
    row.entry = entry;
    row.id = isGroup ? null : entry;
    row.meaning = null;
    row.node.style.setProperty("transform", `translateY(${index * this.#height}px)`);
    set(row.node, "aria-rowindex", index + 2);
    if (!isGroup) row.node.tabIndex = index === this.#current ? 0 : -1;
    this.#shown.set(index, row);
    this.#drawRow(row);
    this.#append(row.node, index);
  }

  /** Rows stand in the document in their order, for those who read it in that order. */
  #append(node, index) {
    let before = null;
    for (const [place, row] of this.#shown) {
      if (place > index && row.node.isConnected && (before === null || place < before.place)) {
        before = { place, node: row.node };
      }
    }
    this.#body.insertBefore(node, before?.node ?? null);
  }

  #make(isGroup, entry) {
    if (isGroup) {
      const cell = el("div", { role: "gridcell", "aria-colspan": this.#columns.length }, entry.group());
      return { isGroup, node: el("div", { class: "row group", role: "row" }, cell), cells: [] };
    }
    const cells = this.#columns.map((column) => {
      const cell = column.make();
      set(cell, "role", "gridcell");
      set(cell, "data-cell", column.name);
      if (column.class) cell.classList.add(...column.class.split(" "));
      return cell;
    });
    return { isGroup, node: el("div", { class: "row", role: "row", tabIndex: -1 }, cells), cells };
  }

  #drawRow(row) {
    if (row.isGroup) return;
    const item = this.#options.get(row.id);
    if (item === undefined) return;
    if (this.#options.selection) {
      set(row.node, "aria-selected", String(this.#options.selection.has(row.id)));
    }
    this.#options.describe?.(row.node, item);
    this.#columns.forEach((column, at) => column.draw(row.cells[at], item));
    const meaning = this.#options.meaning?.(item) ?? null;
    if (row.meaning !== null && meaning !== row.meaning) mark(row.node);
    row.meaning = meaning;
  }

  #rowOf(node) {
    const found = node?.closest?.(".row");
    if (!found || !this.#body.contains(found)) return null;
    for (const row of this.#shown.values()) if (row.node === found) return row;
    return null;
  }

  #focused(event) {
    const row = this.#rowOf(event.target);
    if (!row || row.isGroup) return;
    const former = this.#shown.get(this.#current);
    if (former && former !== row) former.node.tabIndex = -1;
    this.#current = this.#places.get(row.id);
    row.node.tabIndex = 0;
  }

  #clicked(event) {
    const row = this.#rowOf(event.target);
    if (!row || row.isGroup || event.target.closest("a, button")) return;
    const index = this.#places.get(row.id);
    if (this.#options.selection && event.shiftKey) this.#extend(index);
    else if (event.target.closest("[data-select]")) this.#toggle(index);
    row.node.focus({ preventScroll: true });
  }

  #doubleClicked(event) {
    const row = this.#rowOf(event.target);
    if (row && !row.isGroup && !event.target.closest("a, button, [data-select]")) {
      this.#options.open?.(row.id);
    }
  }

  #anchor = null;

  #toggle(index) {
    const id = this.#entries[index];
    const { selection } = this.#options;
    if (!selection.delete(id)) selection.add(id);
    this.#anchor = index;
    this.#selected();
  }

  #extend(index) {
    const from = this.#anchor ?? index;
    for (let at = Math.min(from, index); at <= Math.max(from, index); at += 1) {
      if (typeof this.#entries[at] === "string") this.#options.selection.add(this.#entries[at]);
    }
    this.#anchor = index;
    this.#selected();
  }

  #selected() {
    this.touch();
    this.#options.onSelect?.();
  }
}

/** Marks a row whose meaning changed: an edge of the accent colour that fades. */
export function mark(node) {
  const isStill = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  node.animate(
    [{ borderInlineStartColor: "var(--accent)" }, { borderInlineStartColor: "transparent" }],
    { duration: FADE_MS, easing: isStill ? "steps(1, end)" : "ease-out" },
  );
}

/** A column of plain text: `read(item)` gives it, or `[text, title]`. */
export function textColumn(name, head, width, read, named = null) {
  return {
    name,
    head,
    width,
    class: named,
    make: () => el("div"),
    draw: (cell, item) => {
      const told = read(item);
      const [text, title] = Array.isArray(told) ? told : [told, null];
      if (cell.textContent !== (text ?? "")) cell.textContent = text ?? "";
      set(cell, "title", title || null);
    },
  };
}
