import { el, fill } from "./dom.js";

class BoardJobs extends HTMLElement {
  show() {
    fill(this, el("h1", {}, "Jobs"));
  }
}
customElements.define("board-jobs", BoardJobs);
