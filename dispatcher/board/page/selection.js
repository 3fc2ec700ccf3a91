/**
 * The rows of a table that are selected, and the box above them that selects all.
 *
 * Law: whoever changes the selection as a whole has the rows and what depends on it drawn again.
 */

import { el, set } from "./dom.js";

/** The ids that are selected. `changed` is called after all or none were. */
export class Selection extends Set {
  #rows = null;
  #changed = null;

  constructor(changed) {
    super();
    this.#changed = changed;
    const onchange = () => (this.box.checked ? this.#takeAll() : this.none());
    this.box = el("input", { type: "checkbox", "aria-label": "Select all rows", onchange });
  }

  /** Names the table, which is made with the selection and so comes after it. */
  of(rows) {
    this.#rows = rows;
  }

  none() {
    this.clear();
    this.#rows.touch();
    this.#changed();
  }

  #takeAll() {
    for (const id of this.#rows.ids) this.add(id);
    this.#rows.touch();
    this.#changed();
  }

  /** Draws the box for so many selected of all rows. */
  drawBox(count, all) {
    set(this.box, "checked", count > 0 && count === all);
    set(this.box, "indeterminate", count > 0 && count < all);
  }
}
