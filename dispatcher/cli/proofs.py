"""`dispatcher checkpoint`, `prove` and `verify`: evidence that can be kept, and checked offline.

A folder of evidence has the files that `scripts/verify_proof.py` takes:

    key  checkpoint  proof.json  event.json             # that an event is in the log
    key  old.checkpoint  checkpoint  proof.json         # that the log was only added to

Laws:
- What is gathered is written, and then checked: what proves nothing may be evidence against
  whoever signed it.
- No file that is there is replaced.
- `verify` asks nobody. Without --key it trusts the key that lies beside, and says so.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from dispatcher import files
from dispatcher.cli.asking import ask
from dispatcher.cli.options import DEFAULT_SERVER, ApiKey, Server
from dispatcher.cli.output import print_text, say
from dispatcher.client import Client
from dispatcher.errors import DispatcherError
from dispatcher.evidence.proving import (
    ConsistencyProof,
    NotProvedError,
    check_checkpoint,
    check_consistency,
    check_inclusion,
    is_consistency,
)
from dispatcher.log import serialization
from dispatcher.log.checkpoints import CheckpointError, parse_checkpoint

__all__ = ["checkpoint", "prove", "verify"]

Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="KEY",
        help="The log's key, or a file with it, from where you trust it; see docs/audit.md.",
        show_default=False,
    ),
]


def checkpoint(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A new file for it; by default it is printed."),
    ] = None,
    print_key: Annotated[
        bool, typer.Option("--print-key", help="Print the log's key instead; keep it, too.")
    ] = False,
    key: Key = None,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """Get a signed checkpoint: how many events the log has, and the root of all. Keep it.

    `dispatcher prove --since FILE` shows later that nothing before it was changed.
    """

    async def work(client: Client) -> tuple[str, str]:
        return await client.checkpoint(), await client.log_key()

    note, served_key = ask(server, api_key, work)
    if print_key:
        print_text(served_key)
        return
    told = check_checkpoint(note, _text_of_key(key) or served_key)
    if output is None:
        print(note, end="")  # noqa: T201 - byte for byte, as it is signed
    else:
        _write({output: note.encode()})
        print_text(f"{output}: {told}")


def prove(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    seq: Annotated[
        int | None, typer.Argument(metavar="SEQ", help="The event.", min=1, show_default=False)
    ] = None,
    since: Annotated[
        Path | None,
        typer.Option(
            metavar="NOTE", help="A checkpoint that was kept: prove that it still holds instead."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A new folder; by default proof-SEQ or proof-since-N."),
    ] = None,
    key: Key = None,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """Prove that event SEQ is in the log, or that the log was only added to since a checkpoint.

    The folder that is written can be checked by anybody: `dispatcher verify FOLDER`, or
    scripts/verify_proof.py, which shares no code with the dispatcher.
    """
    if (seq is None) == (since is None):
        raise typer.BadParameter("name either the SEQ of an event, or --since and a checkpoint")
    trusted = _text_of_key(key)
    if seq is not None:
        number = seq
        folder = output or Path(f"proof-{seq}")
        evidence = ask(server, api_key, lambda client: _of_event(client, number, trusted))
    else:
        assert since is not None  # noqa: S101 - one of the two is there
        old = _read(since).decode(errors="replace")
        try:
            folder = output or Path(f"proof-since-{parse_checkpoint(old).size}")
        except CheckpointError as error:
            raise DispatcherError(f"{since}: {error}") from error
        evidence = ask(server, api_key, lambda client: _since(client, old, trusted))
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise DispatcherError(f"{folder}: can't be made: {error.strerror or error}") from error
    _write({folder / name: content for name, content in evidence.items()})
    try:
        told = _verified(folder, trusted or evidence["key"].decode().strip())
    except NotProvedError as error:
        raise NotProvedError(f"{error}. Keep {folder}: it has what was answered") from error
    print_text(f"{folder}: {told}")


def verify(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A folder of `prove`, or a checkpoint.")
    ],
    key: Key = None,
) -> None:
    """Check evidence that was kept, without a dispatcher. Exits with 1 if it proves nothing."""
    trusted = _text_of_key(key)
    if not path.exists():
        raise DispatcherError(f"{path}: there is no such file or folder")
    if trusted is None:
        beside = path / "key" if path.is_dir() else path.with_name("key")
        if not beside.is_file():
            raise typer.BadParameter(
                f"there is no {beside}; give the log's key with --key (GET /log/key)"
            )
        trusted = _text_of_key(str(beside)) or ""
        say(f"The key is that of {beside}; give one that you trust with --key.")
    print_text(_verified(path, trusted))


def _verified(path: Path, key: str) -> str:
    if not path.is_dir():
        return check_checkpoint(_read(path).decode(errors="replace"), key)
    note, proof = _read(path / "checkpoint").decode(errors="replace"), _read(path / "proof.json")
    if is_consistency(proof):
        old = _read(path / "old.checkpoint").decode(errors="replace")
        return check_consistency(old, note, key, proof)
    return check_inclusion(note, key, proof, _read(path / "event.json"))


async def _of_event(client: Client, seq: int, key: str | None) -> Mapping[str, bytes]:
    """Gather what proves that an event is in the log."""
    key, note = key or await client.log_key(), await client.checkpoint()
    size = parse_checkpoint(note).size
    if seq > size:
        raise typer.BadParameter(f"the log has {size:,} events, so there is no event {seq:,} yet")
    (entry,) = await client.events(after=seq - 1, limit=1)
    return {
        "key": f"{key}\n".encode(),
        "checkpoint": note.encode(),
        "proof.json": msgspec.json.encode(await client.inclusion(seq, size)) + b"\n",
        "event.json": serialization.line(entry) + b"\n",
    }


async def _since(client: Client, old: str, key: str | None) -> Mapping[str, bytes]:
    """Gather what proves that the log was only added to, or what shows that it was not."""
    key, note = key or await client.log_key(), await client.checkpoint()
    begin, end = parse_checkpoint(old).size, parse_checkpoint(note).size
    # There is no proof to a log that is shorter; the two notes say enough.
    path = await client.consistency(begin, end) if begin <= end else []
    return {
        "key": f"{key}\n".encode(),
        "old.checkpoint": old.encode(),
        "checkpoint": note.encode(),
        "proof.json": msgspec.json.encode(ConsistencyProof(begin, end, path)) + b"\n",
    }


def _text_of_key(key: str | None) -> str | None:
    """Return the key that is given, directly or as the name of a file with it."""
    if key is None or not Path(key).is_file():
        return key
    return _read(Path(key)).decode(errors="replace").strip()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DispatcherError(f"{path}: can't be read: {error.strerror or error}") from error


def _write(contents: Mapping[Path, bytes]) -> None:
    for path, content in contents.items():
        try:
            draft = path.with_name(f".{path.name}.{os.getpid()}")
            files.write(path, content, draft, replace=False)
        except FileExistsError as error:
            raise DispatcherError(f"{path} is there already, and is not replaced") from error
        except OSError as error:
            raise DispatcherError(f"{path}: can't be written: {error.strerror or error}") from error
