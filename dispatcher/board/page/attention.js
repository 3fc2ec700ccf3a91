/**
 * Whether somebody is looking at a list just now, so that its order must not change under the eye:
 * a pointer or a key moved in it a moment ago, or a row of it is being worked on.
 */

const LOOKS_MS = 6_000;
const WORKS_MS = 30_000;

export class Attention {
  #last = -Infinity;
  #element;

  constructor(element) {
    this.#element = element;
    const note = () => {
      this.#last = performance.now();
    };
    for (const type of ["pointermove", "pointerdown", "keydown", "wheel", "touchmove"]) {
      element.addEventListener(type, note, { passive: true });
    }
  }

  /** Whether the order must stay. */
  get held() {
    const since = performance.now() - this.#last;
    return since < (this.#element.contains(document.activeElement) ? WORKS_MS : LOOKS_MS);
  }
}
