"""`checkpoint`, `prove` and `verify`: evidence without curl, which the standalone script takes."""

from pathlib import Path
from typing import Final

import pytest

from dispatcher.client import Client
from dispatcher.log.checkpoints import Checkpoint, Signer
from tests.support.commands import Done, command
from tests.support.servers import Running

pytestmark = pytest.mark.anyio

ROOT: Final = Path(__file__).parent.parent.parent


@pytest.fixture
async def job(dispatcher: Client) -> str:
    return (await dispatcher.submit("http://media/a.mp4", "h264")).job_id


async def by_script(folder: Path, *arguments: str) -> Done:
    script = str(ROOT / "scripts/verify_proof.py")
    return await command(folder, *arguments, "--key", "key", program=(script,))


async def test_an_event_is_proved_and_the_proof_is_checked_without_the_dispatcher(
    dispatcher: Client, server: Running, tmp_path: Path, job: str
) -> None:
    for _ in range(3):
        await dispatcher.submit("http://media/b.mp4", "h264")
    done = await command(tmp_path, "prove", "1", server=server.url)
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("proof-1: event 1 is in the log of 4 events signed by ")
    checked = await command(tmp_path, "verify", "proof-1")
    assert checked.status == 0
    assert checked.out == done.out.removeprefix("proof-1: ")
    assert "The key is that of proof-1/key" in checked.err
    folder = tmp_path / "proof-1"
    assert job in (folder / "event.json").read_text()
    script = await by_script(
        folder,
        *("inclusion", "--checkpoint", "checkpoint", "--proof", "proof.json"),
        *("--event", "event.json"),
    )
    assert (script.status, script.out) == (0, checked.out)
    (folder / "event.json").write_bytes(b"{}\n")
    spoilt = await command(tmp_path, "verify", "proof-1")
    assert (spoilt.status, spoilt.out) == (1, "")
    assert "the event is not the one that the proof is of" in spoilt.err


async def test_that_the_log_was_only_added_to_is_proved_since_a_kept_checkpoint(
    dispatcher: Client, server: Running, tmp_path: Path, job: str
) -> None:
    assert job
    kept = await command(tmp_path, "checkpoint", "-o", "kept", server=server.url)
    assert kept.status == 0
    await dispatcher.submit("http://media/b.mp4", "h264")
    done = await command(tmp_path, "prove", "--since", "kept", server=server.url)
    assert (done.status, done.err) == (0, "")
    begins = "the log of 2 events begins with the log of 1 events, both signed by "
    assert done.out.startswith(f"proof-since-1: {begins}")
    checked = await command(tmp_path, "verify", "proof-since-1")
    assert checked.out.startswith(begins)
    script = await by_script(
        tmp_path / "proof-since-1",
        *("consistency", "--old", "old.checkpoint", "--new", "checkpoint", "--proof", "proof.json"),
    )
    assert (script.status, script.out) == (0, checked.out)


async def test_a_checkpoint_is_printed_as_it_is_signed_and_verified_with_a_key(
    dispatcher: Client, server: Running, tmp_path: Path, job: str
) -> None:
    assert job
    done = await command(tmp_path, "checkpoint", server=server.url)
    assert (done.status, done.err) == (0, "")
    assert done.out == await dispatcher.checkpoint()
    (tmp_path / "note").write_text(done.out)
    key = await dispatcher.log_key()
    checked = await command(tmp_path, "verify", "note", "--key", key)
    assert (checked.status, checked.err) == (0, "")
    assert checked.out.startswith("the log of 1 events with root ")
    (tmp_path / "note").write_text(done.out.replace("\n1\n", "\n2\n"))
    forged = await command(tmp_path, "verify", "note", "--key", key)
    assert (forged.status, forged.out) == (1, "")


async def test_a_log_that_was_replaced_is_told_and_what_shows_it_is_kept(
    dispatcher: Client, server: Running, tmp_path: Path, job: str
) -> None:
    assert job
    note = await dispatcher.checkpoint()
    origin = note.split("\n")[0]
    signer = Signer.load_or_create(server.db.with_name(f"{server.db.name}.key"))
    assert signer.origin == origin
    for size, fault in ((1, "has signed two different logs of 1 events"), (5, "the log had 5")):
        other = signer.sign(Checkpoint(origin, size, b"\1" * 32))
        (tmp_path / f"other-{size}").write_text(other)
        arguments = ("prove", "--since", f"other-{size}")
        done = await command(tmp_path, *arguments, server=server.url)
        assert (done.status, done.out) == (1, "")
        assert fault in done.err
        kept = tmp_path / f"proof-since-{size}"
        assert (kept / "old.checkpoint").read_text() == other
        assert (kept / "checkpoint").read_text() == note


async def test_the_logs_key_is_printed(dispatcher: Client, server: Running, tmp_path: Path) -> None:
    done = await command(tmp_path, "checkpoint", "--print-key", server=server.url)
    assert (done.status, done.out) == (0, f"{await dispatcher.log_key()}\n")


@pytest.mark.parametrize(
    ("arguments", "status", "fault"),
    [
        (("prove",), 2, "name either the SEQ of an event, or --since"),
        (("prove", "1", "--since", "x"), 2, "name either the SEQ of an event, or --since"),
        (("prove", "99"), 2, "so there is no event 99 yet"),
        (("prove", "0"), 2, "equal to 1"),
        (("prove", "--since", "nothing"), 1, "nothing: can't be read: No such file"),
        (("prove", "--since", "text"), 1, "text: the note has no signature"),
        (("prove", "1", "--key", "nonsense"), 1, "key"),
        (("prove", "1", "-o", "text"), 1, "text: can't be made: File exists"),
        (("checkpoint", "-o", "text"), 1, "text is there already, and is not replaced"),
        (("verify", "nothing"), 1, "nothing: there is no such file or folder"),
        (("verify", "text"), 2, "there is no key"),
        (("verify", "text", "--key", "k"), 1, "key"),
        (("verify", "empty", "--key", "k"), 1, "empty/checkpoint: can't be read"),
    ],
)
@pytest.mark.usefixtures("job")
async def test_what_is_wrong_is_named(
    server: Running, tmp_path: Path, arguments: tuple[str, ...], status: int, fault: str
) -> None:
    (tmp_path / "text").write_text("text\n")
    (tmp_path / "empty").mkdir()
    done = await command(tmp_path, *arguments, server=server.url)
    assert (done.status, done.out) == (status, "")
    assert fault in " ".join(done.err.replace("│", " ").split())
    assert "Traceback" not in done.err
    assert (tmp_path / "text").read_text() == "text\n"
