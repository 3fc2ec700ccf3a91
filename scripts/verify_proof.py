#!/usr/bin/env python3
"""Check what a dispatcher proves about its log, without trusting it or any of its code.

    verify_proof.py checkpoint  --key KEY NOTE
    verify_proof.py inclusion   --key KEY --checkpoint NOTE --proof PROOF.json [--event LINE_FILE]
    verify_proof.py consistency --key KEY --old NOTE --new NOTE --proof PROOF.json
    verify_proof.py certificate --key KEY [--source FILM] [--output FILM] CERTIFICATE.json

This file stands alone, to be read by whoever relies on it: the standard library, the package
`cryptography`, and the definitions of RFC 9162 (2.1.3.1, 2.1.4.1) written down as they are there.

Exit codes: 0 it is proved, and one line says what; 1 it is not, and one line says why; 2 the
command line is wrong, or a file that it names can't be read.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    python = Path(__file__).resolve().parent.parent / ".venv/bin/python"
    if Path(sys.prefix) == python.parent.parent or not python.exists():
        print("verify_proof.py needs the Python package cryptography", file=sys.stderr)
        sys.exit(2)
    os.execv(python, [str(python), *sys.argv])  # noqa: S606 - the project's own interpreter

FILE_LIMIT_BYTES = 16 << 20
HASH_BYTES = 32
KEY_BYTES = 32
SIZE_LIMIT = 1 << 64
PATH_LIMIT = 64

CERTIFICATE_FORM = "transcoding-dispatcher film certificate 1"

# Lines of text, of which a checkpoint has three at least, a blank line, lines of signatures.
NOTE = re.compile(r"((?:[^\x00-\x1f]+\n){3,})\n((?:— [^\x00-\x20]+ [^\x00-\x20]+\n)+)")


class NotProvedError(Exception):
    """What was shown does not prove it; says why, in one line."""


# The tree (RFC 9162, 2.1)


def leaf_hash(line: bytes) -> bytes:
    """Hash an event's line."""
    return hashlib.sha256(b"\x00" + line).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two trees into the one above them."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def left_part(size: int) -> int:
    """Give the largest power of two that is smaller than `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def root_of(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """Follow the path of the leaf at `index`, of `size`, up to the root."""
    if size == 1:
        if path:
            raise NotProvedError("the proof's path is too long")
        return leaf
    if not path:
        raise NotProvedError("the proof's path is too short")
    *below, sibling = path
    left = left_part(size)
    if index < left:
        return node_hash(root_of(leaf, index, left, below), sibling)
    return node_hash(sibling, root_of(leaf, index - left, size - left, below))


def roots_of(old: int, new: int, path: list[bytes], known: bytes | None) -> tuple[bytes, bytes]:
    """Follow a consistency path to two roots: of the first `old` of `new` leaves, and of all.

    `known` is the old tree's root, as long as these leaves begin where the log does.
    """
    if old == new:
        here = path if known is None else [known, *path]
        if len(here) != 1:
            raise NotProvedError(f"the proof's path is too {'long' if here else 'short'}")
        return here[0], here[0]
    if not path:
        raise NotProvedError("the proof's path is too short")
    *below, sibling = path
    left = left_part(new)
    if old <= left:
        old_root, new_root = roots_of(old, left, below, known)
        return old_root, node_hash(new_root, sibling)
    old_root, new_root = roots_of(old - left, new - left, below, None)
    return node_hash(sibling, old_root), node_hash(sibling, new_root)


# The signature (C2SP signed-note and tlog-checkpoint)


class Key(NamedTuple):
    """A public key, and what its signatures are known by."""

    name: str
    key_id: bytes
    public: Ed25519PublicKey


class Checkpoint(NamedTuple):
    """What was signed: how many events a log had, and the root of their tree."""

    origin: str
    size: int
    root: bytes


def parse_key(text: str) -> Key:
    """Read a verifier key: name+hex(id)+base64(0x01, public key)."""
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    material = from_base64(encoded, "the key")
    if len(material) != 1 + KEY_BYTES or material[0] != 1:
        raise NotProvedError("the key is no Ed25519 verifier key")
    named = name.encode(errors="surrogateescape") + b"\n" + material
    if not name or hashlib.sha256(named).hexdigest()[:8] != key_id:
        raise NotProvedError("the key does not belong to its name and id")
    return Key(name, bytes.fromhex(key_id), Ed25519PublicKey.from_public_bytes(material[1:]))


def verified_checkpoint(note: bytes, key: Key, called: str) -> Checkpoint:
    """Read a checkpoint that this key has signed."""
    parts = NOTE.fullmatch(note.decode(errors="replace"))  # what was replaced no key has signed
    if parts is None:
        raise NotProvedError(f"{called} has not the form of a signed checkpoint")
    text, signatures = parts.groups()
    signed_by_key = False
    for line in signatures[:-1].split("\n"):
        _, name, encoded = line.split(" ")
        if name != key.name:
            continue  # another's, who is for others to trust
        signature = from_base64(encoded, f"a signature of {called}")
        if signature[:4] != key.key_id:
            continue
        try:
            key.public.verify(signature[4:], text.encode())
        except InvalidSignature:
            raise NotProvedError(f"{called} has a bad signature by {key.name}") from None
        signed_by_key = True
    if not signed_by_key:
        raise NotProvedError(f"{called} is not signed by {key.name}")
    origin, size, root, *_ = text.split("\n")
    if not re.fullmatch(r"0|[1-9][0-9]{0,19}", size):
        raise NotProvedError(f"{called} has no number of events in its second line")
    return Checkpoint(origin, int(size), hash_in(root, f"the root of {called}"))


# What is handed in


def from_base64(text: object, called: str) -> bytes:
    """Decode the one spelling that base64 has of some bytes."""
    try:
        data = base64.b64decode(str(text), validate=True)
    except ValueError:
        data = b""
    if not data or base64.b64encode(data).decode() != text:
        raise NotProvedError(f"{called} is no base64")
    return data


def hash_in(text: object, called: str) -> bytes:
    """Decode a hash."""
    data = from_base64(text, called)
    if len(data) != HASH_BYTES:
        raise NotProvedError(f"{called} is no hash of {HASH_BYTES} bytes")
    return data


def parse_object(data: bytes, called: str) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError):
        raise NotProvedError(f"{called} is no JSON") from None
    if not isinstance(parsed, dict):
        raise NotProvedError(f"{called} is no JSON object")
    return parsed


def number_in(fields: dict[str, Any], name: str, called: str) -> int:
    """Take a count out of an object; true and 1.0 are none."""
    number = fields.get(name)
    if type(number) is not int or not 0 <= number < SIZE_LIMIT:
        raise NotProvedError(f'{called} has no whole number "{name}"')
    return number


def path_in(proof: dict[str, Any]) -> list[bytes]:
    """Take the path out of a proof."""
    path = proof.get("path")
    if not isinstance(path, list) or len(path) > PATH_LIMIT:
        raise NotProvedError(f'the proof has no list "path" of at most {PATH_LIMIT} hashes')
    return [hash_in(element, "an element of the path") for element in path]


# The four things that can be proved


def check_checkpoint(key: Key, note: bytes) -> str:
    """Check that the log had this size and root."""
    checkpoint = verified_checkpoint(note, key, "the checkpoint")
    root = base64.b64encode(checkpoint.root).decode()
    return f"the log of {checkpoint.size} events with root {root} is signed by {key.name}"


def check_inclusion(key: Key, note: bytes, proof_json: bytes, event: bytes | None) -> str:
    """Check that an event is in the log of a checkpoint, in its place."""
    checkpoint = verified_checkpoint(note, key, "the checkpoint")
    proof = parse_object(proof_json, "the proof")
    seq, size = number_in(proof, "seq", "the proof"), number_in(proof, "size", "the proof")
    leaf = hash_in(proof.get("leaf_hash"), "the proof's leaf_hash")
    if size != checkpoint.size:
        raise NotProvedError(f"the proof is of {size} events, the checkpoint of {checkpoint.size}")
    if not 1 <= seq <= size:
        raise NotProvedError(f"a log of {size} events has no event {seq}")
    if event is not None:
        line = event.removesuffix(b"\n")
        if b"\n" in line:
            raise NotProvedError("the event is more than one line")
        if leaf_hash(line) != leaf:
            raise NotProvedError("the event is not the one that the proof is of: its hash differs")
        if number_in(parse_object(line, "the event"), "seq", "the event") != seq:
            raise NotProvedError(f"the event does not say of itself that it is event {seq}")
    if root_of(leaf, seq - 1, size, path_in(proof)) != checkpoint.root:
        raise NotProvedError(f"the proof does not lead event {seq} to the checkpoint's root")
    which = f"event {seq}"
    if event is None:
        which += f", whose leaf hash is {proof['leaf_hash']},"
    return f"{which} is in the log of {size} events signed by {key.name}"


def check_consistency(key: Key, old_note: bytes, new_note: bytes, proof_json: bytes) -> str:
    """Check that nothing in the log of the old checkpoint is changed or missing in the new."""
    old = verified_checkpoint(old_note, key, "the old checkpoint")
    new = verified_checkpoint(new_note, key, "the new checkpoint")
    proof = parse_object(proof_json, "the proof")
    sizes = number_in(proof, "from", "the proof"), number_in(proof, "to", "the proof")
    path = path_in(proof)
    if old.origin != new.origin:
        raise NotProvedError(f"the checkpoints are of {old.origin!a} and {new.origin!a}")
    if sizes != (old.size, new.size):
        raise NotProvedError(
            f"the proof is from {sizes[0]} to {sizes[1]} events, "
            f"the checkpoints are of {old.size} and {new.size}"
        )
    if old.size > new.size:
        raise NotProvedError("the old checkpoint is of more events than the new one")
    if old.size == 0:
        raise NotProvedError("of a log without events nothing can be proved (RFC 9162, 2.1.4)")
    if roots_of(old.size, new.size, path, old.root) != (old.root, new.root):
        if old.size == new.size:
            raise NotProvedError(
                f"{key.name} has signed two different logs of {new.size} events; keep both notes"
            )
        raise NotProvedError(
            f"the proof does not lead from the log of {old.size} events to that of {new.size}"
        )
    return (
        f"the log of {new.size} events begins with the log of {old.size} events, "
        f"both signed by {key.name}"
    )


def check_certificate(
    key: Key, certificate_json: bytes, source: str | None, output: str | None
) -> str:
    """Check that the log says of a film what its certificate says, and that these are the films.

    `source` and `output` are the SHA-256 of files, in hexadecimal digits.
    """
    certificate = parse_object(certificate_json, "the certificate")
    if certificate.get("certificate") != CERTIFICATE_FORM:
        raise NotProvedError(f"this is no {CERTIFICATE_FORM!a}")
    job_id = certificate.get("job_id")
    note = str(certificate.get("checkpoint")).encode()
    checkpoint = verified_checkpoint(note, key, "the checkpoint")
    events = certificate.get("events")
    if not isinstance(events, list) or not events:
        raise NotProvedError('the certificate has no list "events"')
    told: list[dict[str, Any]] = []
    for number, entry in enumerate(events, 1):
        if not isinstance(entry, dict) or not isinstance(entry.get("line"), str):
            raise NotProvedError(f"entry {number} of the certificate has no line")
        line = entry["line"].encode(errors="surrogatepass")
        check_inclusion(key, note, json.dumps(entry.get("proof")).encode(), line)
        told.append(parse_object(line, "the event"))
    seqs = [number_in(event, "seq", "the event") for event in told]
    if seqs != sorted(set(seqs)):
        raise NotProvedError("the events of the certificate are not in their order")
    if any(event.get("job_id") != job_id for event in told):
        raise NotProvedError(f"an event of the certificate is not of job {job_id!a}")
    submitted, completed = told[0], told[-1]
    if (submitted.get("type"), completed.get("type")) != ("job_submitted", "job_completed"):
        raise NotProvedError("the events do not begin with the submission and end with the output")
    hashes = [
        film_in(submitted.get("source_url"), completed.get("result"), "source"),
        film_in(completed.get("output_url"), completed.get("result"), "output"),
    ]
    says = {
        "source": {"url": submitted.get("source_url"), "sha256": hashes[0]},
        "output": {"url": completed.get("output_url"), "sha256": hashes[1]},
        "engine": completed.get("engine_id"),
        "completed_at": completed.get("time"),
        **{name: fields_of(completed, "result").get(name) for name in ("ffmpeg", "arguments")},
    }
    for name, value in says.items():
        if certificate.get(name) != value:
            raise NotProvedError(f'"{name}" of the certificate is not what the events say')
    for which, told_hash, found in (("source", hashes[0], source), ("output", hashes[1], output)):
        if found is not None and told_hash is None:
            raise NotProvedError(f"the events have no SHA-256 of the {which}")
        if found is not None and found != told_hash:
            raise NotProvedError(f"the {which} has the SHA-256 {found}, the events say {told_hash}")
    films = [f"this {it}" for it, found in (("source", source), ("output", output)) if found]
    engine = ascii(completed.get("engine_id"))
    return (
        f"job {job_id}: {' and '.join(films) or 'no film was looked at; the output'}, "
        f"SHA-256 {hashes[1]}, made by engine {engine} at {completed.get('time')}, "
        f"in the log of {checkpoint.size} events signed by {key.name}"
    )


def fields_of(event: dict[str, Any], name: str) -> dict[str, Any]:
    """Take an object out of an event; an empty one if it has none."""
    fields = event.get(name)
    return fields if isinstance(fields, dict) else {}


def film_in(url: object, result: object, which: str) -> str | None:
    """Give the SHA-256 of a source or an output as the events say, in one way or in two."""
    found = fields_of({"result": result}, "result")
    told = fields_of(found, which).get("sha256")
    stored = re.match(r"store:([0-9a-f]{64})(/|$)", str(url))
    if stored and told is not None and told != stored[1]:
        raise NotProvedError(
            f"the events contradict each other: the {which} is {stored[1]} by its URL, and {told} "
            "by what the engine told"
        )
    return told if isinstance(told, str) else stored[1] if stored else None


# The command line


def sha256_of(name: str) -> str:
    """Hash a film that an argument names."""
    try:
        with Path(name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"can't read {name!a}: {error.strerror}") from None


def content(name: str) -> bytes:
    """Read what an argument names."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(FILE_LIMIT_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(FILE_LIMIT_BYTES + 1)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"can't read {name!a}: {error.strerror}") from None
    if len(data) > FILE_LIMIT_BYTES:
        raise argparse.ArgumentTypeError(f"{name!a} is longer than {FILE_LIMIT_BYTES} bytes")
    return data


def key_text(argument: str) -> str:
    """Give a verifier key, which is the argument itself or the content of the file it names."""
    if re.fullmatch(r"[^\s+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]+=*", argument):
        return argument
    return content(argument).decode(errors="replace").strip()


def parsed_arguments() -> argparse.Namespace:
    """Read the command line and the files that it names."""
    parser = argparse.ArgumentParser(
        description="Check what a dispatcher proves about its log, with none of its code.",
        epilog="A NOTE, PROOF or LINE is a file, or - for standard input.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    checkpoint = commands.add_parser("checkpoint", help="check that the log had a root")
    inclusion = commands.add_parser("inclusion", help="check that an event is in the log")
    consistency = commands.add_parser("consistency", help="check that the log has only grown")
    certificate = commands.add_parser("certificate", help="check a film's certificate")
    for command in (checkpoint, inclusion, consistency, certificate):
        command.add_argument("--key", required=True, type=key_text, help="verifier key or its file")
    checkpoint.add_argument("note", type=content, metavar="NOTE")
    inclusion.add_argument("--checkpoint", required=True, type=content, metavar="NOTE")
    inclusion.add_argument("--event", type=content, metavar="LINE", help="a line of an export")
    consistency.add_argument("--old", required=True, type=content, metavar="NOTE")
    consistency.add_argument("--new", required=True, type=content, metavar="NOTE")
    for command in (inclusion, consistency):
        command.add_argument("--proof", required=True, type=content, metavar="PROOF")
    certificate.add_argument("--source", type=sha256_of, metavar="FILM", help="the source")
    certificate.add_argument("--output", type=sha256_of, metavar="FILM", help="the output")
    certificate.add_argument("certificate", type=content, metavar="CERTIFICATE")
    if sum(argument == "-" or argument.endswith("=-") for argument in sys.argv) > 1:
        parser.error("standard input can be read only once")
    return parser.parse_args()


def main() -> int:
    """Check what the command line asks for; give the exit code."""
    # A name may be of any letters. Nobody has put anything else in the place of standard output.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    given = parsed_arguments()
    try:
        key = parse_key(given.key)
        match given.command:
            case "checkpoint":
                proved = check_checkpoint(key, given.note)
            case "inclusion":
                proved = check_inclusion(key, given.checkpoint, given.proof, given.event)
            case "certificate":
                proved = check_certificate(key, given.certificate, given.source, given.output)
            case _:
                proved = check_consistency(key, given.old, given.new, given.proof)
    except NotProvedError as error:
        print(f"not proved: {error}", file=sys.stderr)
        return 1
    print(proved)
    return 0


if __name__ == "__main__":
    sys.exit(main())
