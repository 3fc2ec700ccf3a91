/**
 * All engines in one table, grouped by state: what wants an operator's eye comes first.
 *
 * An engine that changes its state keeps its place while somebody looks at the table, and a line
 * says how many have moved.
 */

import { actOnEngines } from "./actions.js";
import { go, link, refine } from "./address.js";
import { Attention } from "./attention.js";
import { agoColumn, engineStateColumn, leftColumn, selectColumn, speedColumn } from "./columns.js";
import { el, fill, set, setText } from "./dom.js";
import { Forecast } from "./forecast.js";
import { barColumn } from "./progress.js";
import { Selection } from "./selection.js";
import { ENGINE_STATES, engineMark, engineState, shape } from "./states.js";
import { Rows, textColumn } from "./table.js";
import { engineReason, showWhy } from "./why.js";
import * as words from "./words.js";

const SETTLES_MS = 1_000;
const ORDER = ["blocked", "silent", "working", "draining", "idle"];
const natural = new Intl.Collator("en", { numeric: true });
const SORTS = {
  engine: (a, b) => natural.compare(a.engine_id, b.engine_id),
  left: (a, b, left) => left(a) - left(b),
  seen: (a, b) => (a.last_seen ?? "").localeCompare(b.last_seen ?? ""),
  failures: (a, b) => (b.failed_jobs?.length ?? 0) - (a.failed_jobs?.length ?? 0),
};

class BoardEngines extends HTMLElement {
  #store = null;
  #address = null;
  #rows = null;
  #selection = new Selection(() => this.#drawSelection());
  #grouped = new Map(); // id → the state under which it is listed
  #told = null;
  #timer = null;
  #forecast = null;
  #attention = null;
  #ends = [];

  show(address, store) {
    if (this.#store === null) this.#make(store);
    this.#address = address;
    const told = JSON.stringify([address.filters.get("state"), address.filters.get("sort"), address.filters.get("text"), address.moment]);
    if (told !== this.#told) {
      this.#told = told;
      this.#selection.clear();
      this.#arrange();
    }
    this.update({ jobs: new Set(), engines: new Set(), all: true });
  }

  update(change) {
    this.#forecast.refresh();
    if (change.all) this.#arrangeSoon();
    for (const id of change.engines) {
      const engine = this.#store.state.engines.get(id);
      if (engine === undefined || engineState(engine) !== this.#grouped.get(id)) {
        this.#arrangeSoon();
        break;
      }
    }
    const touched = new Set(change.engines);
    for (const id of change.jobs) {
      const holder = this.#store.state.jobs.get(id)?.assigned_engine;
      if (holder) touched.add(holder);
    }
    this.#rows.touch(change.all || touched.size === 0 ? null : touched);
    this.#drawCounts();
    this.#drawSelection();
  }

  disconnectedCallback() {
    clearTimeout(this.#timer);
    this.#forecast?.stop();
    for (const end of this.#ends) end();
  }

  onKey(event) {
    if (event.key === "Escape" && this.#selection.size > 0) {
      this.#selection.none();
      return true;
    }
    return this.#rows.onKey(event);
  }

  #make(store) {
    this.#store = store;
    this.#forecast = new Forecast(store, () => this.#rows.touch());
    this.chips = Object.keys(ENGINE_STATES).map((state) => {
      const count = el("strong", { class: "number" });
      const toggle = () => refine({ state: this.#address.filters.get("state") === state ? null : state });
      const chip = el("button", { class: `chip tone-${state}`, type: "button", onclick: toggle }, shape(state), count, ENGINE_STATES[state].word);
      return { state, chip, count };
    });
    this.sort = el(
      "select",
      { "aria-label": "Order", onchange: () => refine({ sort: this.sort.value === "engine" ? null : this.sort.value }) },
      el("option", { value: "engine" }, "by name"),
      el("option", { value: "left" }, "by time left"),
      el("option", { value: "seen" }, "by last seen"),
      el("option", { value: "failures" }, "by failures"),
    );
    this.find = el("input", { type: "search", placeholder: "Find an engine", "aria-label": "Find an engine", oninput: () => refine({ text: this.find.value.trim() }) });
    this.news = el("button", { class: "news", hidden: true, onclick: () => this.#arrange() });
    this.empty = el("p", { class: "empty", hidden: true });
    this.#rows = new Rows(this.#columns(), {
      label: "Engines",
      class: "of-engines",
      get: (id) => store.state.engines.get(id),
      open: (id) => go(link({ view: "engine", id })),
      meaning: (engine) => `${engineState(engine)} ${engine.current_job}`,
      selection: this.#selection,
      onSelect: () => this.#drawSelection(),
      describe: (row, engine) => set(row, "data-state", engineState(engine)),
      onSort: (name) => refine({ sort: this.#sort.name === name && !this.#sort.isReversed ? `-${name}` : name }),
    });
    this.#selection.of(this.#rows);
    this.selected = this.#makeSelected();
    const panel = el("section", { class: "panel", "aria-label": "Engines" }, this.news, this.#rows.element, this.empty);
    fill(
      this,
      el("div", { class: "view-head" }, el("h1", { class: "title" }, "Engines")),
      el(
        "div",
        { class: "filters", role: "group", "aria-label": "Filters" },
        el("div", { class: "chips", role: "group", "aria-label": "State" }, this.chips.map(({ chip }) => chip)),
        this.find,
        this.sort,
      ),
      panel,
      this.selected,
    );
    this.#attention = new Attention(panel);
    this.#ends = [this.#rows.connect(), showWhy(this, store)];
  }

  #columns() {
    const store = this.#store;
    const jobOf = (engine) => (engine.current_job === null ? null : (store.state.jobs.get(engine.current_job) ?? null));
    const name = {
      name: "engine",
      head: "Engine",
      sort: "engine",
      width: "minmax(6rem, 1.2fr)",
      class: "name",
      make: () => el("div", {}, el("a", { tabindex: -1 })),
      draw: ({ firstChild: anchor }, engine) => {
        setText(anchor, engine.engine_id);
        set(anchor, "href", link({ view: "engine", id: engine.engine_id }));
        set(anchor, "title", engine.engine_id);
      },
    };
    const job = {
      name: "job",
      head: "Job",
      width: "minmax(8rem, 2.5fr)",
      class: "job",
      make: () => el("div", {}, el("a", { tabindex: -1 }), el("span", { class: "cut" })),
      draw: (cell, engine) => {
        const [anchor, reason] = cell.children;
        const held = jobOf(engine);
        const id = engine.current_job;
        anchor.hidden = id === null;
        setText(anchor, held ? words.jobName(held) : (id ?? ""));
        set(anchor, "href", id === null ? null : link({ view: "job", id }));
        set(anchor, "title", held?.source_url ?? id);
        const state = engineState(engine);
        const told = id === null && ENGINE_STATES[state].heeds ? engineReason(engine, store) : "";
        setText(reason, told);
        set(reason, "title", told);
        set(cell, "data-state", state);
      },
    };
    return [
      selectColumn(this.#selection.box, (engine) => this.#selection.has(engine.engine_id), (engine) => engine.engine_id),
      engineStateColumn(),
      name,
      textColumn("codecs", "Codecs", "minmax(4rem, 1fr)", (engine) => codecsOf(engine), "weak"),
      job,
      barColumn("minmax(6rem, 1.5fr)", jobOf),
      speedColumn(store, "5.5rem", jobOf),
      leftColumn(store, (id) => this.#forecast.expectedAt(id), "6.5rem", jobOf, "left"),
      failuresColumn(store),
      agoColumn(store, "seen", "Last seen", (engine) => engine.last_seen, "5.5rem", "seen"),
    ];
  }

  #makeSelected() {
    this.selectedText = el("strong", { role: "status" });
    const button = (text, act, named = "button") =>
      el("button", { class: named, type: "button", onclick: () => this.#act(act) }, text);
    return el(
      "div",
      { class: "selected", hidden: true, role: "group", "aria-label": "Selected engines" },
      this.selectedText,
      button("Drain", "drain"),
      button("Resume", "resume"),
      button("Forget", "forget", "button danger"),
      el("button", { class: "quiet", type: "button", onclick: () => this.#selection.none() }, "Select none"),
    );
  }

  async #act(act) {
    const engines = [...this.#selection].map((id) => this.#store.state.engines.get(id)).filter(Boolean);
    if (await actOnEngines(this.#store, act, engines)) this.#selection.none();
  }

  /** The order in each group, as the address has it: "seen", or "-seen" for the reverse. */
  get #sort() {
    const asked = this.#address?.filters.get("sort") ?? "engine";
    const name = asked.replace(/^-/, "");
    return Object.hasOwn(SORTS, name) ? { name, isReversed: asked.startsWith("-") } : { name: "engine", isReversed: false };
  }

  /** Puts the engines in their groups, when nobody looks or somebody asks. */
  #arrangeSoon() {
    if (this.#grouped.size === 0) return this.#arrange();
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      if (!this.#attention.held && this.#selection.size === 0) return this.#arrange();
      const moved = this.#moved();
      this.news.hidden = moved === 0;
      setText(this.news, `${words.count(moved, "engine")} changed ${moved === 1 ? "its state" : "their states"}: show`);
      this.#arrangeSoon();
    }, SETTLES_MS);
  }

  #moved() {
    const engines = [...this.#store.state.engines.values()].filter((engine) => this.#admits(engine));
    return engines.filter((engine) => engineState(engine) !== this.#grouped.get(engine.engine_id)).length;
  }

  #admits(engine) {
    const { filters } = this.#address;
    const [state, text] = [filters.get("state"), (filters.get("text") ?? "").toLowerCase()];
    if (state && engineState(engine) !== state) return false;
    return !text || `${engine.engine_id} ${engine.engine_type ?? ""} ${codecsOf(engine)}`.toLowerCase().includes(text);
  }

  #arrange() {
    this.news.hidden = true;
    const { name, isReversed } = this.#sort;
    const sign = isReversed ? -1 : 1;
    this.#rows.drawSort(name, isReversed ? "descending" : "ascending");
    const now = this.#store.now();
    const left = (engine) => {
      const at = this.#forecast.expectedAt(engine.current_job);
      return at === null ? Infinity : words.millis(at) - now;
    };
    const groups = new Map(ORDER.map((state) => [state, []]));
    for (const engine of this.#store.state.engines.values()) {
      if (this.#admits(engine)) groups.get(engineState(engine)).push(engine);
    }
    this.#grouped = new Map();
    const entries = [];
    for (const [state, engines] of groups) {
      if (engines.length === 0) continue;
      const told = words.number(engines.length);
      entries.push({ group: () => el("h2", {}, engineMark(state), el("span", { class: "weak number" }, told)) });
      engines.sort((a, b) => sign * SORTS[name](a, b, left) || SORTS.engine(a, b));
      for (const { engine_id: id } of engines) {
        entries.push(id);
        this.#grouped.set(id, state);
      }
    }
    this.#rows.setEntries(entries);
    this.#rows.touch();
    this.#drawEmpty(entries.length === 0);
  }

  #drawEmpty(isEmpty) {
    this.#rows.element.hidden = isEmpty;
    this.empty.hidden = !isEmpty;
    const none = this.#store.state.engines.size === 0;
    const text = this.#store.loading ? "Looking for engines." : none ? "No engine has reported yet. On any machine: dispatcher engine" : "No engine matches.";
    setText(this.empty, text);
  }

  #drawCounts() {
    const counts = Object.fromEntries(this.chips.map(({ state }) => [state, 0]));
    for (const engine of this.#store.state.engines.values()) counts[engineState(engine)] += 1;
    for (const { state, chip, count } of this.chips) {
      setText(count, words.number(counts[state]));
      set(chip, "aria-pressed", String(this.#address.filters.get("state") === state));
    }
    set(this.sort, "value", this.#sort.name);
    if (document.activeElement !== this.find) set(this.find, "value", this.#address.filters.get("text") ?? "");
  }

  #drawSelection() {
    for (const id of this.#selection) if (!this.#store.state.engines.has(id)) this.#selection.delete(id);
    const count = this.#selection.size;
    const all = this.#rows.ids.length;
    this.selected.hidden = count === 0 || !this.#store.may("operator");
    this.#selection.drawBox(count, all);
    setText(this.selectedText, `${words.number(count)} selected`);
  }
}

/** How many jobs it failed since it last succeeded, with what they were in the title. */
function failuresColumn(store) {
  const named = (id) => {
    const job = store.state.jobs.get(id);
    return job ? `${words.jobName(job)}: ${job.error_message ?? ""}` : id;
  };
  const read = ({ failed_jobs: failed = [] }) => {
    if (failed.length === 0) return "";
    return [words.number(failed.length), `Failed since it last succeeded:\n${failed.map(named).join("\n")}`];
  };
  return { ...textColumn("failures", "Failures", "4.5rem", read, "end failures"), sort: "failures" };
}

function codecsOf(engine) {
  return (engine.supported_codecs ?? []).join(" ") || "any codec";
}

customElements.define("board-engines", BoardEngines);
