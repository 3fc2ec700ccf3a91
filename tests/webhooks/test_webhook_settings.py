"""The file of webhooks, the outbox, and what a dispatcher does not begin with."""

import sqlite3
from pathlib import Path
from typing import Final

import pytest

from dispatcher.serving.callbacks import Callbacks, CallbacksError
from dispatcher.webhooks.outbox import Outbox, OutboxError, Queued
from dispatcher.webhooks.settings import ENDS, WebhooksError, read_webhooks
from dispatcher.webhooks.signing import Secret, SecretError, load_or_create, new_secret
from tests.support.commands import command

SECRET: Final = new_secret()
RIGHT: Final = f'[[webhook]]\nname = "a"\nurl = "http://a/"\nsecret = "{SECRET}"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "webhooks.toml"


def test_a_webhook_is_told_of_the_ends_of_jobs_unless_it_asks_for_others(file: Path) -> None:
    second = RIGHT.replace('"a"', '"b"') + 'events = ["engine_lost"]\ngive_up_hours = 1\n'
    file.write_text(RIGHT + second)
    first, other = read_webhooks(file)
    assert (first.name, first.events, first.give_up_hours) == ("a", ENDS, 24)
    assert (sorted(other.events), other.give_up_hours) == (["engine_lost"], 1)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[[webhook]", "is no TOML"),
        ("[webhook]\n", "each webhook begins with [[webhook]]"),
        ("x = 1\n", "each webhook begins with [[webhook]]"),
        ('[[webhook]]\nname = "a"\n', "webhook 1: Object missing required field `url`"),
        (f"{RIGHT}sizes = 1\n", "webhook 1: Object contains unknown field `sizes`"),
        (RIGHT.replace('"a"', '"a b"'), "'name' must be 1 to 64 of the characters"),
        (RIGHT.replace("http://a/", "ftp://a/"), "'url' must be a URL with http:// or https://"),
        (RIGHT.replace("whsec_", "sec_"), "a secret must be whsec_ and 24 to 64 bytes in base64"),
        (RIGHT + RIGHT, "two webhooks have the name 'a'"),
        (f'{RIGHT}events = ["job_done"]\n', "there is no event 'job_done'"),
        (f"{RIGHT}events = []\n", "'events' is empty"),
        (f"{RIGHT}give_up_hours = -1\n", "'give_up_hours' must be from 0 to 8760"),
    ],
)
def test_a_file_with_a_fault_is_refused_with_where_it_is(file: Path, text: str, fault: str) -> None:
    file.write_text(text)
    with pytest.raises(WebhooksError) as caught:
        read_webhooks(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert fault in str(caught.value)
    assert SECRET.removeprefix("whsec_") not in str(caught.value)


@pytest.mark.parametrize("text", ["whsec_", "whsec_AAAA", "whsec_*", "", f"whsec_{'A' * 400}"])
def test_a_secret_has_enough_bytes(text: str) -> None:
    with pytest.raises(SecretError):
        Secret(text)


def test_the_secret_of_callbacks_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    first, again = load_or_create(path), load_or_create(path)
    assert first.headers("id", 1, b"") == again.headers("id", 1, b"")
    path.write_text("nothing")
    with pytest.raises(SecretError, match="a secret must be"):
        load_or_create(path)


@pytest.mark.parametrize("text", ["10.1.0.0/99", "a.*.com", "*", "10.1.0.1/16"])
def test_where_callbacks_may_go_is_read_or_refused(text: str) -> None:
    with pytest.raises(CallbacksError, match="--callback-allow"):
        Callbacks.parse(text)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--webhooks", "none.toml"), "none.toml: there is no such file"),
        (("--callback-allow", "a.*.com"), "a star stands for the first parts of a name"),
        (
            ("--callback-allow", "public", "--log", "nats://127.0.0.1/x"),
            "--webhooks and --callback-allow are of one dispatcher",
        ),
    ],
)
async def test_a_dispatcher_does_not_begin_with_what_it_can_not_do(
    options: tuple[str, ...], fault: str, tmp_path: Path
) -> None:
    done = await command(tmp_path, "serve", "--port", "0", *options)
    assert done.status in {1, 2}
    assert fault in " ".join(done.err.replace("│", " ").split())


# The outbox


@pytest.mark.anyio
async def test_an_outbox_knows_what_it_knew(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    outbox, seq = await Outbox.open(path, 7)
    assert seq == 7
    await outbox.add(9, [Queued("a", "job 1", 8), Queued("a", "job 1", 9)], [("1", "http://a/")])
    await outbox.close()
    outbox, seq = await Outbox.open(path, 20)
    assert (seq, await outbox.callback_of("1")) == (9, "http://a/")
    (first,) = await outbox.due("a", 0, 10)  # the second is not due before the first is taken
    assert first.seq == 8
    await outbox.taken(first)
    assert [it.seq for it in await outbox.due("a", 0, 10)] == [9]
    await outbox.close()


@pytest.mark.anyio
async def test_an_outbox_of_a_log_that_was_put_back_begins_at_its_head(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    outbox, _ = await Outbox.open(path, 0)
    await outbox.add(9, [Queued("a", "job 1", 3), Queued("a", "job 2", 9)])
    await outbox.close()
    outbox, seq = await Outbox.open(path, 5)
    assert (seq, [it.seq for it in await outbox.due("a", 0, 10)]) == (5, [3])
    await outbox.close()


@pytest.mark.anyio
async def test_a_file_that_is_no_outbox_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    path.write_text("a letter to a friend")
    with pytest.raises(OutboxError, match="can't be used"):
        await Outbox.open(path, 0)
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE letters (text TEXT)")
    other.close()
    with pytest.raises(OutboxError, match="is no outbox of webhooks"):
        await Outbox.open(path, 0)
