"""`dispatcher audit`."""

import asyncio
import csv
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress as Bar

from dispatcher.cli.options import ApiKey, AsJson, Db, authorities
from dispatcher.cli.output import print_json, print_text, say
from dispatcher.cli.tables import Column, print_rows
from dispatcher.client import Client
from dispatcher.evidence.against_server import Served
from dispatcher.evidence.audit import Audit, Start, head_of
from dispatcher.evidence.beginning import start_at
from dispatcher.evidence.hashes import Known
from dispatcher.evidence.statistics import Spread, Totals
from dispatcher.log.checkpoints import CheckpointError, parse_checkpoint, verify_checkpoint
from dispatcher.progress import Progress

__all__ = ["audit"]

MOST_FINDINGS: Final = 20
"""Most findings shown as text; JSON has them all."""
BUSIEST: Final = 10
"""Most engines shown as text; JSON and CSV have them all."""
_KEY: Final = re.compile(r"[^\s+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]+=*", re.ASCII)
"""The format of a key. Any other text, even one with a plus in it, may be a file name."""
_LONG_S: Final = 1.0
"""A progress bar appears after this time."""


def audit(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    db: Db = Path("events.db"),
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(metavar="NOTE", help="A file with an earlier checkpoint; may be repeated."),
    ] = None,
    from_checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="NOTE",
            help="Trust this checkpoint, and read only the events after it.",
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="The key (GET /log/key), or a file with it, that checkpoints must be signed with.",
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Compare with what this dispatcher shows and signs."),
    ] = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print the sums as CSV: section, name, value.")
    ] = False,
) -> None:
    """Check a log for anything missing, changed or impossible. A dispatcher may be running.

    Exits with 1 if there is a finding, and names the first bad seq.
    """
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv contradict each other; drop one")
    verifier_key = _key(key)
    known = [_known(path, verifier_key) for path in checkpoint or ()]
    trusted = None if from_checkpoint is None else _known(from_checkpoint, verifier_key)
    start = None if trusted is None else asyncio.run(start_at(db, trusted))
    if against is None:
        walk = Audit(db, known, start=start)
        _run(walk)
    else:
        walk = asyncio.run(_audit_against(against, api_key, db, known, verifier_key, start))
    if (known or against or start) and verifier_key is None:
        walk.notes.append(
            "The checkpoints' signatures were not checked, as no key was given with --key."
        )
    totals = walk.statistics.totals()
    if as_json:
        print_json(_report(walk, totals))
    elif as_csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows(
            [("section", "name", "value"), *_sums(totals)]
        )
        _conclude(walk, say)
    else:
        print_rows(_COLUMNS, _sums(totals, BUSIEST))
        _conclude(walk, print_text)
    raise typer.Exit(1 if walk.findings else 0)


async def _audit_against(  # noqa: PLR0913, PLR0917
    server: str,
    api_key: str | None,
    db: Path,
    known: list[Known],
    verifier_key: str | None,
    start: Start | None,
) -> Audit:
    head_of(db)  # reports a missing log before anything else
    async with Client(server, api_key, ca=authorities()) as client:
        served = await Served.ask(client, db, verifier_key)
        walk = Audit(db, known, served.looks(), start)
        _run(walk)
        for finding in await served.findings(walk.tree):
            walk.findings.add(finding)
        return walk


def _run(walk: Audit) -> None:
    with _bar() as tell:
        walk.run(tell)


@contextmanager
def _bar() -> Iterator[Progress]:
    """Show a progress bar on a terminal if the block takes long."""
    bar = Bar(console=Console(stderr=True), transient=True)
    task, due = bar.add_task("auditing", total=None), time.monotonic() + _LONG_S

    def tell(done: int, of: int) -> None:
        bar.update(task, completed=done, total=of)
        if bar.console.is_terminal and not bar.live.is_started and time.monotonic() >= due:
            bar.start()

    try:
        yield tell
    finally:
        if bar.live.is_started:  # stopping it otherwise would print an empty line
            bar.stop()


def _key(key: str | None) -> str | None:
    """Return the key that an option gives, directly or as the name of a file with the key."""
    if key is None or _KEY.fullmatch(key):
        return key
    try:
        return Path(key).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise typer.BadParameter(
            f"--key {key}: is neither a key (name+id+base64) nor a file with one: {error}"
        ) from error


def _known(path: Path, verifier_key: str | None) -> Known:
    try:
        note = path.read_text(encoding="utf-8")
        if verifier_key is None:
            checkpoint = parse_checkpoint(note)
        else:
            checkpoint = verify_checkpoint(note, verifier_key)
        return Known(f"checkpoint {path} of {checkpoint.origin}", checkpoint)
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"--checkpoint {path}: can't be read: {error}") from error
    except CheckpointError as error:
        by_key = "" if verifier_key is None else " with this --key"
        raise typer.BadParameter(f"--checkpoint {path}{by_key}: {error}") from error


def _report(walk: Audit, totals: Totals) -> dict[str, Any]:
    first = walk.findings.first_bad()
    return {
        "log": str(walk.path),
        "size": walk.tree.size,
        "root": walk.tree.root(),
        "first_bad_seq": None if first is None else first.seq,
        "findings": list(walk.findings),
        "notes": walk.notes,
        "totals": totals,
    } | ({"after": walk.begin} if walk.begin else {})


def _conclude(walk: Audit, tell: Callable[[str], None]) -> None:
    """Print the findings and notes, and the conclusion in the last line."""
    for finding in list(walk.findings)[:MOST_FINDINGS]:
        tell(f"  {finding}")
    if (more := len(walk.findings) - MOST_FINDINGS) > 0:
        tell(f"  … and {more} more; --json has them all")
    for note in walk.notes:
        tell(f"Note: {note}")
    first, path, found = walk.findings.first_bad(), walk.path, len(walk.findings)
    if first is not None:
        tell(f"{path}: first bad seq {first.seq}, findings {found}. {first}")
    elif found:
        tell(f"{path}: no event is known to be bad, but findings {found}.")
    elif walk.begin:
        after = walk.tree.size - walk.begin
        tell(f"{path}: the {after:,} events after seq {walk.begin:,} are sound.")
    else:
        tell(f"{path}: all {walk.tree.size:,} events are sound.")


def _sums(totals: Totals, engines: int | None = None) -> Iterator[tuple[str, str, Any]]:
    yield "log", "events", totals.events
    for status, count in totals.jobs.items():
        yield "jobs", status, count
    yield "jobs", "retries", totals.retries
    yield "jobs", "refused answers", totals.refused_answers
    yield from _spread("wait", totals.waits)
    yield from _spread("attempt", totals.attempts)
    for engine in totals.busiest_engines[:engines]:
        for name, value in msgspec.structs.asdict(engine).items():
            if name != "engine_id":
                yield f"engine {engine.engine_id}", name, value


def _spread(name: str, spread: Spread | None) -> Iterator[tuple[str, str, Any]]:
    if spread is not None:
        yield name, "count", spread.count
        yield name, "p50_s", spread.p50_s
        yield name, "p95_s", spread.p95_s


def _number(value: int | float) -> str:  # noqa: PYI041 - the two are shown differently
    return f"{value:,.3f}" if isinstance(value, float) else f"{value:,}"


_COLUMNS: Final[Sequence[Column[tuple[str, str, Any]]]] = (
    Column("of", lambda it: it[0]),
    Column("what", lambda it: it[1]),
    Column("how much", lambda it: _number(it[2]), is_number=True),
)
