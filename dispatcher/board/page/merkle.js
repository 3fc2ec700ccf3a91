/**
 * The log's tree, as an auditor sees it: consistency proofs (RFC 9162, 2.1.4), with WebCrypto.
 *
 * Laws:
 * - Nothing that the dispatcher sends is taken as true: sizes, hashes and the length of a path are
 *   checked, and base64 has one spelling.
 * - A proof leads to both roots, or it is malformed (`NotProvedError`), or it is whole and leads
 *   elsewhere (`ContradictionError`). Only the last says anything of the log.
 */

export const HASH_BYTES = 32;

/** As many hashes as a proof for 2^64 events can need. */
const PATH_LIMIT = 130;

/** What was shown does not prove it. The text says why, in one line. */
export class NotProvedError extends Error {
  name = "NotProvedError";
}

/** Two notes that the log's key has signed can't both be of one log that only grew. */
export class ContradictionError extends Error {
  name = "ContradictionError";
}

/** The browser has no WebCrypto here: a page without TLS has it on the machine itself only. */
export class NoCryptoError extends Error {
  name = "NoCryptoError";
}

/** WebCrypto, or a `NoCryptoError` that says what to do. */
export function subtle() {
  if (globalThis.crypto?.subtle) return globalThis.crypto.subtle;
  throw new NoCryptoError(
    "This browser verifies only pages that come over HTTPS or from the same machine. Serve the " +
      "dispatcher over TLS, or verify with scripts/verify_proof.py.",
  );
}

export async function sha256(...parts) {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return new Uint8Array(await subtle().digest("SHA-256", bytes));
}

const LEAF = new Uint8Array([0]);
const NODE = new Uint8Array([1]);

/** The hash of an event's line. */
export const leafHash = (line) => sha256(LEAF, line);

/** The hash of two trees beside each other. */
export const nodeHash = (left, right) => sha256(NODE, left, right);

export const sameBytes = (one, other) =>
  one.length === other.length && one.every((byte, at) => byte === other[at]);

/** Bytes as base64. */
export function toBase64(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

/** Decode the one spelling that base64 has of some bytes; `called` names it in an error. */
export function fromBase64(text, called) {
  let bytes = null;
  try {
    bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    // Told below, with all other spellings that are not the one.
  }
  if (typeof text !== "string" || !bytes?.length || toBase64(bytes) !== text) {
    throw new NotProvedError(`${called} is no base64`);
  }
  return bytes;
}

/** Decode a hash. */
export function hashIn(text, called) {
  const bytes = fromBase64(text, called);
  if (bytes.length !== HASH_BYTES) {
    throw new NotProvedError(`${called} is no hash of ${HASH_BYTES} bytes`);
  }
  return bytes;
}

/**
 * Check that the log of `to` events with the root `newRoot` begins with the log of `from` events
 * with the root `oldRoot`. `proof` is an answer of `GET /log/consistency`. Raises `NotProvedError`
 * if it is none, and `ContradictionError` if it leads to other roots.
 */
export async function checkConsistency({ from, to, oldRoot, newRoot }, proof) {
  if (!Number.isSafeInteger(from) || !Number.isSafeInteger(to)) {
    throw new NotProvedError("the log has more events than a browser can count");
  }
  if (from > to) throw new NotProvedError(`${from} events can't be the beginning of ${to}`);
  if (from < 1) throw new NotProvedError("of a log without events nothing can be proved");
  if (proof === null || typeof proof !== "object" || !Array.isArray(proof.path)) {
    throw new NotProvedError('the proof has no list "path"');
  }
  if (proof.from !== from || proof.to !== to) {
    throw new NotProvedError(`the proof is not from ${from} to ${to} events`);
  }
  if (proof.path.length > PATH_LIMIT) throw new NotProvedError("the proof's path is too long");
  const path = proof.path.map((hash) => hashIn(hash, "an element of the path"));
  const [old, all] = await rootsOf(from, to, path, oldRoot);
  if (!sameBytes(old, oldRoot) || !sameBytes(all, newRoot)) {
    throw new ContradictionError(`the proof does not lead from ${from} events to ${to}`);
  }
}

/** The largest power of two that is smaller than `size`; not by bits, which end at 32 of them. */
function leftPart(size) {
  let left = 1;
  while (left * 2 < size) left *= 2;
  return left;
}

/**
 * Follow a path to two roots: of the first `old` of `size` leaves, and of all. `known` is the root
 * of the old tree, as long as these leaves begin where the log does.
 */
async function rootsOf(old, size, path, known) {
  if (old === size) {
    const here = known === null ? path : [known, ...path];
    if (here.length !== 1) {
      throw new NotProvedError(`the proof's path is too ${here.length ? "long" : "short"}`);
    }
    return [here[0], here[0]];
  }
  if (!path.length) throw new NotProvedError("the proof's path is too short");
  const sibling = path.at(-1);
  const below = path.slice(0, -1);
  const left = leftPart(size);
  if (old <= left) {
    const [oldRoot, newRoot] = await rootsOf(old, left, below, known);
    return [oldRoot, await nodeHash(newRoot, sibling)];
  }
  const [oldRoot, newRoot] = await rootsOf(old - left, size - left, below, null);
  return [await nodeHash(sibling, oldRoot), await nodeHash(sibling, newRoot)];
}
