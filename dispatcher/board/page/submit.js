/**
 * The form that submits jobs: one for each line of sources, and one for each file that was uploaded.
 *
 * Laws:
 * - A press can be repeated: the jobs that one press asks for have keys that stay the same until the
 *   dispatcher has answered, so that a lost answer makes no job twice.
 * - The dispatcher decides what is right. Its own words are shown, at the field that they name.
 */

import { link } from "./address.js";
import { el, fill, set, setText } from "./dom.js";
import { filesPart } from "./files.js";
import { uploadsOf } from "./uploads.js";
import { count, fileName } from "./words.js";

const CODECS = ["h264", "hevc", "av1", "vp9", "vp8", "mpeg4", "mpeg2", "prores", "theora"];
const OWN = " own"; // no recipe has a name with a space
const MOST_LINKS = 50;

export class BoardSubmit extends HTMLElement {
  #store = null;
  #press = null; // {fields, key} of a press that was not answered
  #uploads = null;
  #files = null; // the part of the form that takes files, if the dispatcher has a store

  show(_, store) {
    this.#store = store;
    this.#uploads = uploadsOf(store);
    if (!this.firstChild) this.#make();
    this.update();
  }

  update() {
    const may = this.#store.may("client");
    set(this.form, "hidden", !may);
    const past = this.#store.moment !== null;
    const why = past ? "Nobody submits in the past. Press . to go back to now." : "The key of this tab may not submit jobs. That needs the role client.";
    setText(this.barred, may || this.#store.who === null ? "" : why);
    if (!may) return;
    this.#drawCodecs();
    this.#askForStore();
  }

  disconnectedCallback() {
    this.#files?.stop();
    this.#ends?.abort();
  }

  #make() {
    const input = (name, attributes = {}) => (this[name] = el(attributes.tag ?? "input", { id: `submit-${name}`, name, autocomplete: "off", spellcheck: "false", ...attributes, tag: null }));
    this.errors = new Map();
    const field = (name, label, control, hint = "") => {
      const error = el("p", { class: "field-error", id: `${control.id}-error`, role: "alert" });
      this.errors.set(name, { control, error });
      set(control, "aria-describedby", `${control.id}-hint ${control.id}-error`);
      return el("div", { class: `field field-${name}` }, el("label", { for: control.id }, label), control, el("p", { class: "weak small", id: `${control.id}-hint` }, hint), error);
    };
    this.codecs = el("datalist", { id: "submit-codecs" });
    this.own = field("recipe.own", "Its fields, as JSON", input("fields", { tag: "textarea", rows: 5, class: "mono", placeholder: '{"vmaf": 93, "max_height": 1080, "audio": "opus"}' }), "As in docs/recipes.md.");
    this.form = el(
      "form",
      { class: "submit panel", onsubmit: (event) => this.#onSubmit(event) },
      field("source_url", "Sources", input("sources", { tag: "textarea", rows: 4, required: true, placeholder: "https://media.example/film.mkv" }), "One a line. Each becomes a job."),
      (this.files = el("div", { hidden: true })),
      el(
        "div",
        { class: "fields" },
        field("target_codec", "Codec", input("codec", { list: "submit-codecs", required: true, value: "h264" })),
        this.codecs,
        field("recipe", "Recipe", input("recipe", { tag: "select", onchange: () => this.#drawOwn() })),
        field("priority", "Priority", input("priority", { type: "number", min: 0, max: 100, step: 1, value: "0" }), "0 to 100; more is sooner."),
        field("output_name", "Output name", input("output", { placeholder: "{stem}-{job_id}" }), "A template; empty for the usual name."),
      ),
      this.own,
      el(
        "details",
        {},
        el("summary", {}, "More"),
        el(
          "div",
          { class: "fields" },
          field("job_size", "Size in MB", input("size", { type: "number", min: 0, step: "any" }), "Of each source, if it is known; large ones go to fast engines."),
          field("tags", "Tags", input("tags"), "Only engines that have all of them may have it; with commas between them."),
          field("max_retries", "Retries", input("retries", { type: "number", min: 0, step: 1 }), "3 if it is empty."),
        ),
      ),
      (this.general = el("p", { class: "field-error", role: "alert" })),
      el("p", {}, (this.button = el("button", { type: "submit", class: "button primary" }, "Submit"))),
    );
    fill(
      this,
      el("header", { class: "page-head" }, el("h1", { class: "headline" }, "Submit jobs"), (this.barred = el("p", { class: "reason" }))),
      this.form,
      (this.done = el("section", { class: "submitted", role: "status" })),
    );
    this.#loadRecipes();
    this.#drawOwn();
  }

  #ends = null;

  /** Shows the part that takes files, if the dispatcher has a store. */
  async #askForStore() {
    if (this.#ends !== null) return;
    const { signal } = (this.#ends = new AbortController());
    const limits = await this.#store.api.get("/store").catch(() => ({ enabled: false }));
    if (!limits.enabled || signal.aborted) return;
    this.#files = filesPart(this.#uploads, limits);
    fill(this.files, this.#files.node);
    this.files.hidden = false;
    this.#uploads.addEventListener("change", () => this.#drawNeed(), { signal });
    this.#drawNeed();
    // A file that is dropped beside the form would take the place of the page, and end all uploads.
    const over = (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      this.form.toggleAttribute("data-over", event.type === "dragover");
      if (event.type === "drop" && !this.form.hidden) this.#files.take(event.dataTransfer);
    };
    for (const type of ["dragover", "dragleave", "drop"]) window.addEventListener(type, over, { signal });
  }

  #drawNeed() {
    set(this.sources, "required", this.#uploads.list.length === 0);
  }

  async #loadRecipes() {
    const option = (value, text) => el("option", { value }, text);
    fill(this.recipe, option("", "none"), option(OWN, "its own fields"));
    const named = await this.#store.api.get("/recipes/").catch(() => []);
    const at = this.recipe.value;
    fill(this.recipe, option("", "none"), named.map(({ name }) => option(name, name)), option(OWN, "its own fields"));
    this.recipe.value = at;
  }

  #drawOwn() {
    set(this.own, "hidden", this.recipe.value !== OWN);
  }

  #drawCodecs() {
    const told = [...this.#store.state.engines.values()].flatMap((engine) => engine.supported_codecs ?? []);
    const all = [...new Set([...told.filter((it) => typeof it === "string"), ...CODECS])];
    if (this.codecs.dataset.key === all.join()) return;
    this.codecs.dataset.key = all.join();
    fill(this.codecs, all.map((codec) => el("option", { value: codec })));
  }

  /** What the form says, as submissions: one for each source. Raises `SyntaxError` for bad JSON. */
  #jobs() {
    const common = { target_codec: this.codec.value.trim() };
    if (this.priority.value !== "") common.priority = Number(this.priority.value);
    if (this.size.value !== "") common.job_size = Number(this.size.value);
    if (this.retries.value !== "") common.max_retries = Number(this.retries.value);
    if (this.output.value !== "") common.output_name = this.output.value;
    const tags = this.tags.value.split(",").map((tag) => tag.trim()).filter(Boolean);
    if (tags.length) common.tags = tags;
    if (this.recipe.value === OWN) common.recipe = JSON.parse(this.fields.value || "{}");
    else if (this.recipe.value !== "") common.recipe = this.recipe.value;
    const lines = this.sources.value.split("\n").map((line) => line.trim()).filter(Boolean);
    const sized = (bytes) => ({ job_size: Math.max(bytes / 1e6, 0.001), ...common });
    return [
      ...lines.map((source) => ({ source_url: source, ...common })),
      ...this.#uploads.list.map(({ url, file }) => ({ source_url: url, ...sized(file.size) })),
    ];
  }

  /** Waits for the uploads under way. Gives whether all files are there; says it if one is not. */
  async #uploaded() {
    if (this.#uploads.underWay.length > 0) {
      setText(this.button, "Submits when the files are uploaded");
      await this.#uploads.settled();
      setText(this.button, "Submit");
    }
    const [failed] = this.#uploads.list.filter(({ state }) => state === "failed");
    if (failed) this.#say(`${failed.file.name} is not uploaded: try again, or take it away.`, "source_url");
    return failed === undefined;
  }

  async #onSubmit(event) {
    event.preventDefault();
    this.#clear();
    set(this.button, "disabled", true);
    if (await this.#uploaded()) await this.#submit();
    set(this.button, "disabled", false);
  }

  async #submit() {
    let jobs;
    try {
      jobs = this.#jobs();
    } catch (error) {
      return this.#say(`This is not JSON: ${error.message}`, "recipe.own");
    }
    if (!jobs.length) return this.#say("There is no source.", "source_url");
    const fields = JSON.stringify(jobs);
    if (this.#press?.fields !== fields) this.#press = { fields, key: freshKey() };
    try {
      await (jobs.length === 1 ? this.#one(jobs[0]) : this.#many(jobs));
      this.#press = null;
    } catch (error) {
      if (error.status >= 400 && error.status < 500 && error.status !== 429) this.#press = null;
      this.#say(error.text ?? error.message);
    }
    return undefined;
  }

  async #one(job) {
    const response = await this.#store.api.request("/jobs/", { method: "POST", body: job, headers: { "Idempotency-Key": this.#press.key } });
    const made = await response.json();
    this.#succeed([made], response.headers.get("X-Dispatcher-Warning"));
    this.#keep([]);
  }

  async #many(jobs) {
    const body = jobs.map((job, at) => ({ ...job, idempotency_key: `${this.#press.key}-${at}` }));
    const response = await this.#store.api.request("/jobs/batch", { method: "POST", body });
    const answers = await response.json();
    const made = answers.filter(({ job }) => job).map(({ job }) => job);
    const refused = answers.map((answer, at) => ({ ...answer, source: jobs[at].source_url })).filter(({ job }) => !job);
    this.#succeed(made, response.headers.get("X-Dispatcher-Warning"));
    this.#keep(refused.map(({ source }) => source));
    if (refused.length) this.#refuse(refused);
  }

  /** Leaves only these sources in the form: they were refused. */
  #keep(sources) {
    const kept = new Set(sources);
    const uploads = this.#uploads.list.filter(({ url }) => !kept.delete(url));
    for (const upload of uploads) this.#uploads.remove(upload);
    this.sources.value = sources.filter((source) => kept.has(source)).join("\n");
  }

  /** Say of many which were refused, and why; each reason once. */
  #refuse(refused) {
    const reasons = new Map();
    for (const { error, source } of refused) reasons.set(error, [...(reasons.get(error) ?? []), source]);
    const [[text, sources]] = reasons;
    if (reasons.size === 1) return this.#say(`${text}${refused.length > 1 ? ` (${count(sources.length, "source")})` : ""}`);
    return this.#say([...reasons].map(([reason, of]) => `${fileName(of[0])}${of.length > 1 ? ` and ${of.length - 1} more` : ""}: ${reason}`).join("\n"), null);
  }

  #succeed(jobs, warning) {
    if (!jobs.length) return;
    const shown = jobs.slice(0, MOST_LINKS);
    fill(
      this.done,
      el("h2", {}, `${count(jobs.length, "job")} submitted`),
      warning ? el("p", { class: "warning" }, warning) : null,
      el("ul", { class: "plain-list" }, shown.map((job) => el("li", {}, el("a", { href: link({ view: "job", id: job.job_id }), title: job.source_url }, fileName(job.source_url)), el("span", { class: "weak mono" }, ` ${job.job_id}`)))),
      jobs.length > shown.length ? el("p", { class: "weak" }, `and ${count(jobs.length - shown.length, "more", "more")}`) : null,
    );
  }

  #clear() {
    setText(this.general, "");
    for (const { control, error } of this.errors.values()) {
      setText(error, "");
      set(control, "aria-invalid", null);
    }
  }

  /** Show an error at the field that it names first, else below the form. */
  #say(text, field = fieldIn(text)) {
    const own = field === "recipe" && this.recipe.value === OWN ? "recipe.own" : field;
    const at = own === null ? undefined : this.errors.get(own);
    if (at === undefined) return void setText(this.general, text);
    setText(at.error, text);
    set(at.control, "aria-invalid", "true");
    at.control.closest("details")?.setAttribute("open", "");
    at.control.focus();
  }
}

/** The field of a submission that an error of the dispatcher names, or null. */
export function fieldIn(text) {
  const named = /'(source_url|target_codec|job_size|max_retries|priority|output_name|recipe|tags)(?:\.[^']*)?'/.exec(text);
  return named ? named[1] : /^Bad Request: there is no recipe '/.test(text) ? "recipe" : null;
}

/** A key that nobody else has; `crypto.randomUUID` is not there on a page without TLS. */
function freshKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `board-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

customElements.define("board-submit", BoardSubmit);
