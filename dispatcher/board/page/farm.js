import { el, fill } from "./dom.js";

class BoardFarm extends HTMLElement {
  show() {
    fill(this, el("h1", {}, "Farm"));
  }
}
customElements.define("board-farm", BoardFarm);
