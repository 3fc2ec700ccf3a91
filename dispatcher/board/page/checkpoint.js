/**
 * Signed checkpoints: a C2SP tlog-checkpoint in a C2SP signed note, with Ed25519 by WebCrypto.
 *
 * Laws:
 * - A size, a hash and an id have one spelling, and any other is refused.
 * - Signatures by other keys are ignored; one by the log's key that is bad makes the note bad.
 */

import { NoCryptoError, NotProvedError, fromBase64, hashIn, sha256, subtle } from "./merkle.js";

const KEY_BYTES = 32;
const ID_BYTES = 4;
const ED25519 = 1;
const NOTE_LIMIT = 1 << 20;
const NOTE = /^((?:[^\p{Cc}]+\n){3,})\n((?:— [^\p{Cc}\s]+ [^\p{Cc}\s]+\n)+)$/u;
const SIZE = /^(?:0|[1-9][0-9]{0,15})$/;

const utf8 = new TextEncoder();
const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** Read a verifier key, name+id+base64: `{text, name, id, bytes}`. */
export async function parseKey(given) {
  const text = given.trim();
  const parts = /^([^\s+]+)\+([0-9a-f]{8})\+(\S+)$/.exec(text);
  if (!parts) throw new NotProvedError("a log's key has the form name+id+base64");
  const [, name, id, encoded] = parts;
  const material = fromBase64(encoded, "the log's key");
  if (material.length !== 1 + KEY_BYTES || material[0] !== ED25519) {
    throw new NotProvedError("the log's key is none of Ed25519");
  }
  const hash = await sha256(utf8.encode(`${name}\n`), material);
  if (hex(hash.subarray(0, ID_BYTES)) !== id) {
    throw new NotProvedError("the log's key does not belong to its name and id");
  }
  return { text, name, id, bytes: material.subarray(1) };
}

/**
 * Read a note as it was pasted: with the line ends of any system, and with or without the last one.
 */
export const pastedNote = (text) => `${text.replaceAll("\r\n", "\n").trim()}\n`;

/** What a note says, whoever signed it: `{origin, size, root, note}`; `root` is base64. */
export function readNote(note) {
  return { ...partsOf(note).said, note };
}

/** What a note says that this key has signed: `{origin, size, root, note}`; `root` is base64. */
export async function verifiedCheckpoint(note, key, called = "the checkpoint") {
  const { text, signatures, said } = partsOf(note, called);
  const own = signatures.filter(({ name, id }) => name === key.name && id === key.id);
  if (!own.length) throw new NotProvedError(`${called} is not signed by ${key.name}`);
  const imported = await importedKey(key);
  for (const { signature } of own) {
    const good = await subtle().verify("Ed25519", imported, signature, utf8.encode(text));
    if (!good) throw new NotProvedError(`${called} has a bad signature by ${key.name}`);
  }
  if (said.origin !== key.name) {
    throw new NotProvedError(`${called} is of the log ${said.origin}, not of ${key.name}`);
  }
  return { ...said, note };
}

function partsOf(note, called = "the checkpoint") {
  const parts = note.length <= NOTE_LIMIT ? NOTE.exec(note) : null;
  if (!parts) throw new NotProvedError(`${called} has not the form of a signed checkpoint`);
  const [, text, lines] = parts;
  const signatures = lines.trimEnd().split("\n").map((line) => {
    const [, name, encoded] = line.split(" ");
    const bytes = fromBase64(encoded, `a signature of ${called}`);
    return { name, id: hex(bytes.subarray(0, ID_BYTES)), signature: bytes.subarray(ID_BYTES) };
  });
  const [origin, size, root] = text.split("\n");
  if (!SIZE.test(size) || !Number.isSafeInteger(Number(size))) {
    throw new NotProvedError(`${called} has no number of events in its second line`);
  }
  hashIn(root, `the root of ${called}`);
  return { text, signatures, said: { origin, size: Number(size), root } };
}

async function importedKey({ name, bytes }) {
  try {
    return await subtle().importKey("raw", bytes, "Ed25519", false, ["verify"]);
  } catch (error) {
    if (error.name !== "NotSupportedError") throw error;
    throw new NoCryptoError(
      `This browser can't check signatures of Ed25519, as ${name} makes them; a newer one can.`,
    );
  }
}
