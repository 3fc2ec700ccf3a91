"""Signed checkpoints: the log's length and its tree's root, signed with the log's own key.

The text is a C2SP tlog-checkpoint in a C2SP signed note, with Ed25519 (https://c2sp.org).

Laws:
- One key file, one log: the first process to start creates it, and all others use that one.
- The private key is only in its file and in memory. It is in no text, no error and no repr.
- A size, a hash and an id have one spelling, and any other is refused. Signatures by keys other
  than the log's own are ignored.
"""

import base64
import binascii
import hashlib
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from dispatcher import files
from dispatcher.errors import DispatcherError
from dispatcher.log.merkle import HASH_BYTES

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "CheckpointKeyError",
    "Signer",
    "parse_checkpoint",
    "verify_checkpoint",
]

_ED25519: Final = b"\x01"
"""The signature type: the first byte of an encoded key, and part of the hash that is its id."""
_KEY_BYTES: Final = 32
_ID_BYTES: Final = 4
_NOTE_LIMIT: Final = 1 << 20
"""The most characters of a note: room for far more than the 16 signatures that must be
tolerated."""
_KEY_FILE_LIMIT: Final = 4096
_SIZE_LIMIT: Final = 1 << 64
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,19}")
_SIGNATURE_LINE: Final = re.compile(r"— (\S+) (\S+)")


class CheckpointError(DispatcherError, ValueError):
    """A checkpoint is malformed, or not signed as required."""


class CheckpointKeyError(DispatcherError):
    """The signing key can't be read or created, or others can read it."""


class Checkpoint(msgspec.Struct, frozen=True):
    """The log `origin` had `size` events, and the tree of their lines had this root."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{_to_base64(self.root)}\n"


class Signer:
    """Signs the checkpoints of one log, whose origin is the name of its key."""

    def __init__(self, origin: str, key: Ed25519PrivateKey) -> None:
        if not _is_name(origin):
            raise CheckpointKeyError("the name of a key has no spaces and no +, and is not empty")
        self.origin: Final = origin
        self._key = key
        self._public = key.public_key().public_bytes_raw()
        self._key_id = _key_id(origin, self._public)

    @classmethod
    def parse(cls, text: str) -> "Signer":
        """Parse a private key, PRIVATE+KEY+name+id+base64. `CheckpointKeyError` if malformed."""
        # A malformed key may still contain part of a real one, so no error shows any of it.
        match text.split("+", 4):
            case ["PRIVATE", "KEY", name, key_id, encoded]:
                material = _from_base64(encoded)
            case _:
                raise CheckpointKeyError("a private key has the form PRIVATE+KEY+name+id+base64")
        if material is None or len(material) != 1 + _KEY_BYTES or material[:1] != _ED25519:
            raise CheckpointKeyError("the private key is not one for Ed25519")
        signer = cls(name, Ed25519PrivateKey.from_private_bytes(material[1:]))
        if key_id != signer._key_id.hex():
            raise CheckpointKeyError("the private key does not belong to its name and id")
        return signer

    @classmethod
    def load_or_create(cls, path: Path) -> "Signer":
        """Read the key file, or create a key and its file if there is none.

        Raises `CheckpointKeyError` if neither succeeds, or if others than the owner could read the
        file.
        """
        try:
            text = _read_key_file(path)
            if text is None:
                _write_key_file(path, _generated())
                text = _read_key_file(path)
        except OSError as error:
            raise CheckpointKeyError(f"{path} can't be read or made: {error.strerror}") from error
        if text is None:
            raise CheckpointKeyError(f"{path} links to a file that is not there; remove the link")
        try:
            return cls.parse(text.removesuffix("\n"))
        except CheckpointKeyError as error:
            raise CheckpointKeyError(f"{path} holds no key to sign with: {error}") from error

    @property
    def verifier_key(self) -> str:
        """The public key for verifiers: name+id+base64."""
        return f"{self.origin}+{self._key_id.hex()}+{_to_base64(_ED25519 + self._public)}"

    def sign(self, checkpoint: Checkpoint) -> str:
        """Return the note: the checkpoint's text and its signature."""
        if checkpoint.origin != self.origin:
            raise ValueError(f"the key of {self.origin} signs nothing for {checkpoint.origin}")
        text = checkpoint.text
        signature = _to_base64(self._key_id + self._key.sign(text.encode()))
        return f"{text}\n— {self.origin} {signature}\n"


class _Signature(NamedTuple):
    name: str
    key_id: bytes
    signature: bytes


class _Note(NamedTuple):
    text: str
    signatures: list[_Signature]


def parse_checkpoint(note: str) -> Checkpoint:
    """Parse a note, whoever signed it. Raises `CheckpointError` if it is no checkpoint."""
    return _checkpoint_of(_parse_note(note).text)


def verify_checkpoint(note: str, verifier_key: str) -> Checkpoint:
    """Parse a note that this key has signed. Raises `CheckpointError` if it has not."""
    name, key_id, public = _parse_verifier_key(verifier_key)
    parsed = _parse_note(note)
    matching = [it.signature for it in parsed.signatures if (it.name, it.key_id) == (name, key_id)]
    if not matching:
        raise CheckpointError(f"the checkpoint has no signature by {name}+{key_id.hex()}")
    try:
        for signature in matching:
            public.verify(signature, parsed.text.encode())
    except InvalidSignature:
        raise CheckpointError(f"the checkpoint's signature by {name} is not good") from None
    return _checkpoint_of(parsed.text)


def _checkpoint_of(text: str) -> Checkpoint:
    """Parse a note's text. What follows the first three lines is ignored."""
    lines = text.removesuffix("\n").split("\n")
    match lines:
        case [origin, size, root, *_] if all(lines):
            pass
        case _:
            raise CheckpointError("a checkpoint has at least three lines, none of them empty")
    if not _SIZE.fullmatch(size) or int(size) >= _SIZE_LIMIT:
        raise CheckpointError(f"the checkpoint's size is no number of events: {size[:40]!r}")
    root_hash = _from_base64(root)
    if root_hash is None or len(root_hash) != HASH_BYTES:
        raise CheckpointError(f"the checkpoint's root is not {HASH_BYTES} bytes in base64")
    return Checkpoint(origin, int(size), root_hash)


def _parse_note(note: str) -> _Note:
    if len(note) > _NOTE_LIMIT:
        raise CheckpointError(f"the note is longer than {_NOTE_LIMIT} characters")
    if not _is_clean(note.replace("\n", "")):
        raise CheckpointError("the note has control characters or is no UTF-8")
    text, blank, lines = note.rpartition("\n\n")
    if not blank or not lines:
        raise CheckpointError("the note has no signature line after a blank line")
    if not lines.endswith("\n"):
        raise CheckpointError("the note does not end with a line end")
    return _Note(f"{text}\n", [_parse_signature(line) for line in lines[:-1].split("\n")])


def _parse_signature(line: str) -> _Signature:
    parts = _SIGNATURE_LINE.fullmatch(line)
    signed = _from_base64(parts[2]) if parts is not None and _is_name(parts[1]) else None
    if parts is None or signed is None or len(signed) <= _ID_BYTES:
        raise CheckpointError(f"the note has a malformed signature line: {line[:80]!r}")
    return _Signature(parts[1], signed[:_ID_BYTES], signed[_ID_BYTES:])


def _parse_verifier_key(text: str) -> tuple[str, bytes, Ed25519PublicKey]:
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    material = _from_base64(encoded)
    if not _is_name(name) or material is None:
        raise CheckpointError("a verifier key has the form name+id+base64")
    if len(material) != 1 + _KEY_BYTES or material[:1] != _ED25519:
        raise CheckpointError(f"the verifier key of {name} is not one for Ed25519")
    if key_id != _key_id(name, material[1:]).hex():
        raise CheckpointError(f"the verifier key of {name} does not belong to its id")
    return name, bytes.fromhex(key_id), Ed25519PublicKey.from_public_bytes(material[1:])


def _read_key_file(path: Path) -> str | None:
    """Read a key file that only its owner can read; `None` if there is none."""
    try:
        # Non-blocking, since opening a pipe would keep the dispatcher from starting.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointKeyError(
                f"{path} is no regular file; a key to sign with is kept in one"
            )
        if (owner := files.foreign_owner(status, path.parent)) is not None:
            raise CheckpointKeyError(
                f"{path} belongs to another user (uid {owner}), who could sign as this log; remove "
                "it to have a new key made, or chown it if it is this log's"
            )
        if status.st_mode & 0o077:
            raise CheckpointKeyError(
                f"{path} is open to others than its owner (mode {status.st_mode & 0o777:04o}), who "
                "could sign as this log; run chmod 600 on it, or remove it to have a new key made"
            )
        return os.read(fd, _KEY_FILE_LIMIT).decode(errors="replace")
    finally:
        os.close(fd)


def _write_key_file(path: Path, text: str) -> None:
    """Create a key file, unless there is one by now.

    It is complete before it gets its name, and the name is given only once. So processes that start
    together all find the same key.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        files.write(path, text.encode(), draft, mode=0o600, replace=False)
    except FileExistsError:
        files.sync_folder(path.parent)  # the other process may not have synced it yet


def _generated() -> str:
    """Return the text of a new private key, with a name derived from its public key."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    name = f"transcoding-dispatcher/{hashlib.sha256(public).hexdigest()[:8]}"
    encoded = _to_base64(_ED25519 + key.private_bytes_raw())
    return f"PRIVATE+KEY+{name}+{_key_id(name, public).hex()}+{encoded}\n"


def _key_id(name: str, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:_ID_BYTES]


def _is_name(text: str) -> bool:
    return bool(text) and _is_clean(text) and not re.search(r"[\s+]", text)


def _is_clean(text: str) -> bool:
    """Whether it is UTF-8 without control characters."""
    try:
        return min(text.encode(), default=0x20) >= 0x20  # noqa: PLR2004 - the first that is no control character
    except UnicodeEncodeError:
        return False


def _to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _from_base64(text: str) -> bytes | None:
    """Decode what `_to_base64` wrote; `None` for any other text."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if _to_base64(data) == text else None
