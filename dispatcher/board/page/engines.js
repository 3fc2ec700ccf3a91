import { el, fill } from "./dom.js";

class BoardEngines extends HTMLElement {
  show() {
    fill(this, el("h1", {}, "Engines"));
  }
}
customElements.define("board-engines", BoardEngines);
