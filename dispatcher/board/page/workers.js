/**
 * The workers of the page. Trusted Types ask for a policy before a script is started: this one knows
 * the page's own files alone.
 */

const OWN = { hashing: "/board/hashing.js" };

const trusted = globalThis.trustedTypes?.createPolicy("workers", {
  createScriptURL: (name) => {
    if (!Object.hasOwn(OWN, name)) throw new TypeError(`The page has no worker "${name}".`);
    return OWN[name];
  },
});

/** Starts a worker. */
export function worker(name) {
  return new Worker(trusted?.createScriptURL(name) ?? OWN[name], { type: "module" });
}
