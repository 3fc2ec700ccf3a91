/** The public API of the dispatcher, asked with the key of this tab. */

/** The dispatcher refused: `status` is that of HTTP, 0 if it could not be reached. */
export class ApiError extends Error {
  constructor(status, text, retryAfterS = null) {
    super(text);
    this.name = "ApiError";
    this.status = status;
    this.text = text;
    this.retryAfterS = retryAfterS;
    /** `Upload-Offset`: how much of an upload is there, or null. */
    this.offset = null;
  }
}

/** A path with its parameters; those that are null, undefined or "" are left out. */
export function query(path, parameters = {}) {
  const given = Object.entries(parameters).filter(([, value]) => (value ?? "") !== "");
  const text = new URLSearchParams(given).toString();
  return text ? `${path}?${text}` : path;
}

/** A path of which some parts come from outside: path`/jobs/${id}/retry`. */
export function path(texts, ...parts) {
  return String.raw({ raw: texts }, ...parts.map(encodeURIComponent));
}

export class Api {
  /** `onRefused` is called with the error when the key is missing or wrong (401). */
  constructor(key = null, onRefused = () => {}) {
    this.key = key;
    this.onRefused = onRefused;
    /** How much the dispatcher's clock is ahead of this one, in milliseconds. */
    this.clockAheadMs = 0;
  }

  /** Asks, and returns the response if it is a success; raises `ApiError` otherwise. */
  async request(to, { method = "GET", body = null, headers = {}, signal = null } = {}) {
    const sent = { ...headers };
    if (this.key !== null) sent["X-API-Key"] = this.key;
    if (body !== null && !(body instanceof Blob)) sent["Content-Type"] ??= "application/json";
    let response;
    try {
      response = await fetch(to, {
        method,
        headers: sent,
        body: written(body),
        signal,
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(0, "The dispatcher can't be reached.");
    }
    this.#setClock(response);
    if (response.ok) return response;
    const failed = new ApiError(
      response.status,
      await response.text().catch(() => "") || `${response.status} ${response.statusText}`,
      Number(response.headers.get("Retry-After")) || null,
    );
    failed.offset = offsetOf(response);
    if (failed.status === 401) this.onRefused(failed);
    throw failed;
  }

  /** Whether the key of this tab is good, or none is needed. Being refused would be an error. */
  async isAdmitted() {
    return !(await this.request("/", { method: "HEAD" })).headers.has("X-Dispatcher-Auth");
  }

  /** The JSON of a GET. */
  async get(to, options = {}) {
    return (await this.request(to, options)).json();
  }

  /** One page of a list: `{items, seq, next}`, where `next` is the path of the next page or null. */
  async page(to, options = {}) {
    const response = await this.request(to, options);
    const items = await response.json();
    return { items, seq: seqOf(response), next: nextOf(response) };
  }

  /** The text that answers a request which changes something. */
  async send(method, to, body = null, headers = {}) {
    return (await this.request(to, { method, body, headers })).text();
  }

  #setClock(response) {
    const at = Date.parse(response.headers.get("Date") ?? "");
    if (Number.isNaN(at)) return;
    const ahead = at + 500 - Date.now(); // the header has whole seconds
    this.clockAheadMs = Math.abs(ahead) < 2000 ? 0 : ahead;
  }
}

/** A body as `fetch` takes it: texts and files as they are, anything else as JSON. */
function written(body) {
  if (body === null) return undefined;
  return typeof body === "string" || body instanceof Blob ? body : JSON.stringify(body);
}

/** How much of an upload is there, as a response says, or null. */
export function offsetOf(response) {
  const text = response.headers.get("Upload-Offset") ?? "";
  return /^\d+$/.test(text) ? Number(text) : null;
}

/** The seq of the state that a response shows, or null. */
function seqOf(response) {
  const text = response.headers.get("X-Dispatcher-Seq");
  return text === null ? null : Number(text);
}

function nextOf(response) {
  const found = /<([^>]*)>\s*;\s*rel="next"/.exec(response.headers.get("Link") ?? "");
  return found === null ? null : found[1];
}
