"""The keys file: what it may hold, how keys get into it, and how they get out of force."""

import asyncio
import hashlib
import signal
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.client import Client, RequestRefusedError
from dispatcher.serving.keys import ApiKeys, Key, KeysError, Role
from dispatcher.serving.keys_file import new_key, read_keys, revoke_key
from tests.support.commands import command, ended, said_by, started
from tests.support.engines import program
from tests.support.servers import KEY, Running, running

SECRET: Final = "a secret of these tests"
SHA256: Final = hashlib.sha256(SECRET.encode()).hexdigest()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a keys file may be; nothing stands there yet."""
    return tmp_path / "keys.toml"


def block(name: str = "anna", role: str = "client", sha256: str = SHA256) -> str:
    return f'[[key]]\nname = "{name}"\nrole = "{role}"\nsha256 = "{sha256}"\n'


def fault_of(path: Path, text: str) -> str:
    """Write a file that can't be used, and give what is said of it, save the name."""
    path.write_text(text)
    with pytest.raises(KeysError) as told:
        ApiKeys(path=path)
    place, _, fault = str(told.value).partition(": ")
    assert place == str(path)
    return fault


# What a file may hold


def test_a_key_is_found_with_its_name_and_role(path: Path) -> None:
    path.write_text(block("anna", "client") + block("rack-1", "engine", "0" * 64))
    keys = ApiKeys(path=path)
    found = keys.find(SECRET.encode())
    assert found is not None
    assert (found.name, found.role) == ("anna", Role.CLIENT)
    assert len(keys) == 2


@pytest.mark.parametrize("other", ["", SECRET[:-1], SECRET + " ", SECRET.upper(), SHA256])
def test_no_other_key_is_found(path: Path, other: str) -> None:
    path.write_text(block())
    assert ApiKeys(path=path).find(other.encode()) is None


def test_the_case_of_a_digest_does_not_matter(path: Path) -> None:
    path.write_text(block(sha256=SHA256.upper()))
    assert ApiKeys(path=path).find(SECRET.encode()) is not None


@pytest.mark.parametrize("name", ["a", "anna.b_c-D9", "a" * 64, "operator"])
def test_a_name_that_may_be(path: Path, name: str) -> None:
    path.write_text(block(name))
    assert len(ApiKeys(path=path)) == 1


NAME_RULE: Final = "'name' must be 1 to 64 of the characters A-Z a-z 0-9 . _ -"


@pytest.mark.parametrize("name", ["", "a b", "a" * 65, "ключ", "a\\n", "a/b", "a'b"])
def test_a_name_that_may_not_be_is_told_by_its_place(path: Path, name: str) -> None:
    assert fault_of(path, block("b", sha256="0" * 64) + block(name)) == f"key number 2: {NAME_RULE}"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            block(role="boss"),
            "key 'anna': 'role' must be one of 'client', 'engine', 'operator', 'monitor'",
        ),
        (
            block(role="Client"),
            "key 'anna': 'role' must be one of 'client', 'engine', 'operator', 'monitor'",
        ),
        (
            block().replace('role = "client"\n', ""),
            "key 'anna': 'role' must be one of 'client', 'engine', 'operator', 'monitor'",
        ),
        (
            block() + "roles = 1\n",
            (
                "key 'anna': there is no field 'roles'; a key has 'name', 'role' and 'sha256', "
                "and an engine's may have 'engine'"
            ),
        ),
        (block().replace('"anna"', "7"), f"key number 1: {NAME_RULE}"),
        (
            block("dispatcher"),
            "key 'dispatcher': events that no key has caused have this name; choose another",
        ),
        (
            block("anonymous"),
            "key 'anonymous': events that no key has caused have this name; choose another",
        ),
        (
            block() + block(sha256="0" * 64),
            (
                "key 'anna': another key has this name ('operator' is that of --api-key); events "
                "record it, so choose one of its own"
            ),
        ),
        (
            block() + block("bert"),
            (
                "key 'bert': it is the same key as 'anna' ('operator' is that of --api-key or "
                "DISPATCHER_API_KEY); give each name a key of its own"
            ),
        ),
        ("[keys]\n", "there is no 'keys' in a keys file, only [[key]]"),
        ("key = 1\n", "each key must be a block of its own that begins with [[key]]"),
        ("[key]\n", "each key must be a block of its own that begins with [[key]]"),
        ("[[key]\n", "is no TOML: Expected ']]' at the end of an array declaration (at line 1, "),
        ("", "there is no key in it, so nobody could ask for anything; make one with "),
        ("# key\n", "there is no key in it, so nobody could ask for anything; make one with "),
    ],
)
def test_a_fault_is_told_with_the_file_the_key_and_the_rule(
    path: Path, text: str, fault: str
) -> None:
    told = fault_of(path, text)
    assert told == fault or (fault[-1] == " " and told.startswith(fault))


@pytest.mark.parametrize("sha256", ["", SHA256[:-1], SHA256 + "0", "g" * 64, SECRET])
def test_what_is_no_digest_is_not_repeated_since_it_may_be_the_key(path: Path, sha256: str) -> None:
    assert fault_of(path, block(sha256=sha256)) == (
        "key 'anna': 'sha256' must be 64 hexadecimal digits, the SHA-256 of the key and not the "
        "key; `dispatcher key new` makes both"
    )


def test_a_file_that_is_not_there_is_told_with_the_way_to_make_it(path: Path) -> None:
    with pytest.raises(KeysError) as told:
        ApiKeys(path=path)
    assert str(told.value) == (
        f"{path}: there is no such file; make it, and a first key, with "
        f"`dispatcher key new NAME --role ROLE --keys {path}`"
    )


def test_what_is_no_text_is_told(path: Path) -> None:
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(KeysError, match="is no text in UTF-8"):
        ApiKeys(path=path)
    with pytest.raises(KeysError, match="is no regular file"):
        ApiKeys(path=path.parent)


@given(
    st.lists(
        st.sampled_from([*block().splitlines(), 'name = "b"', "x = 1", "[a]", "key", "'''", "[["])
        | st.text(max_size=20)
    )
)
def test_whatever_stands_in_a_file_it_is_read_or_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    path = tmp_path_factory.mktemp("keys") / "keys.toml"
    path.write_bytes("\n".join(lines).encode(errors="replace"))
    try:
        assert len(ApiKeys(path=path)) > 0
    except KeysError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017 - either is well


def test_the_single_key_stands_beside_the_file_which_may_then_be_empty(path: Path) -> None:
    path.write_text("")
    keys = ApiKeys([Key.of("operator", Role.OPERATOR, KEY)], path)
    found = keys.find(KEY.encode())
    assert found is not None
    assert (found.name, found.role) == ("operator", Role.OPERATOR)


def test_the_name_and_the_key_of_the_single_key_are_taken(path: Path) -> None:
    single = Key.of("operator", Role.OPERATOR, SECRET)
    for text, fault in (
        (block("operator", sha256="0" * 64), "another key has this name"),
        (block("anna"), "it is the same key as 'operator'"),
    ):
        path.write_text(text)
        with pytest.raises(KeysError, match=fault):
            ApiKeys([single], path)


def test_a_file_that_everybody_can_write_is_warned_of(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(block())
    path.chmod(0o644)
    ApiKeys(path=path)
    assert caplog.messages == []
    path.chmod(0o666)
    ApiKeys(path=path)
    (message,) = caplog.messages
    assert message.startswith(f"{path}: every user can write it")


# Keys that are bound to an engine


@pytest.mark.parametrize("engine", ["farm-7", "a b", 'q"uo\\te', "señor", "'", "#", "x" * 300])
def test_a_key_may_be_bound_to_an_engine(path: Path, engine: str) -> None:
    secret = new_key(path, "seven", Role.ENGINE, engine)
    newer = new_key(path, "seven-2", Role.ENGINE, engine)
    keys = ApiKeys(path=path)
    assert keys.find(secret.encode()) == Key.of("seven", Role.ENGINE, secret, engine)
    assert keys.find(newer.encode()) == Key.of("seven-2", Role.ENGINE, newer, engine)


def test_the_file_says_to_which(path: Path) -> None:
    new_key(path, "seven", Role.ENGINE, "farm-7")
    assert 'role = "engine"\nengine = "farm-7"\nsha256 = ' in path.read_text()


@pytest.mark.parametrize("role", [Role.CLIENT, Role.OPERATOR])
def test_only_an_engines_key_is_bound(path: Path, role: Role) -> None:
    rule = (
        "key 'anna': only a key with the role 'engine' can be bound to an engine, and this one has "
        f"the role '{role}'; leave 'engine' away, or make a key with the other role"
    )
    assert fault_of(path, block(role=role) + 'engine = "farm-7"\n') == rule
    path.unlink()
    with pytest.raises(KeysError, match="only a key with the role 'engine'"):
        new_key(path, "anna", role, "farm-7")
    assert not path.exists()


@pytest.mark.parametrize("engine", ['""', "7", "true", "[]", r'"a\nb"', r'"\u0085"'])
def test_what_is_no_id_of_an_engine_is_told(path: Path, engine: str) -> None:
    fault = fault_of(path, block(role="engine") + f"engine = {engine}\n")
    assert fault == (
        "key 'anna': 'engine' must be the id of an engine: printable characters, at least one"
    )


# Reading it again


def test_a_reload_brings_keys_into_force_and_out_of_it(path: Path) -> None:
    path.write_text(block())
    keys = ApiKeys(path=path)
    bert = new_key(path, "bert", Role.ENGINE)
    assert keys.find(bert.encode()) is None
    keys.reload()
    assert keys.find(bert.encode()) is not None
    path.write_text(block("carl", sha256="0" * 64))
    keys.reload()
    assert keys.find(bert.encode()) is None
    assert keys.find(SECRET.encode()) is None


@pytest.mark.parametrize("text", ["", "[[key]]\n", "no TOML", block() + block()])
def test_a_reload_of_a_bad_file_leaves_the_keys_in_force(path: Path, text: str) -> None:
    path.write_text(block())
    keys = ApiKeys(path=path)
    path.write_text(text)
    with pytest.raises(KeysError):
        keys.reload()
    assert keys.find(SECRET.encode()) is not None
    path.unlink()
    with pytest.raises(KeysError):
        keys.reload()
    assert keys.find(SECRET.encode()) is not None


# Making keys


def test_a_new_key_is_in_a_file_that_its_owner_alone_can_read(path: Path) -> None:
    secret = new_key(path, "anna", Role.CLIENT)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secret not in path.read_text()
    assert ApiKeys(path=path).find(secret.encode()) == Key.of("anna", Role.CLIENT, secret)
    assert list(path.parent.iterdir()) == [path]


def test_a_new_key_leaves_all_that_stands_in_the_file(path: Path) -> None:
    before = f"# ours\r\n{block()}  # no line's end here"
    path.write_text(before, newline="")
    path.chmod(0o640)
    new_key(path, "bert", Role.ENGINE)
    assert path.read_bytes().startswith(before.encode())
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert len(ApiKeys(path=path)) == 2


def test_a_link_to_the_file_stays_a_link(path: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    path.symlink_to(tmp_path / "real" / "keys.toml")
    new_key(path, "anna", Role.CLIENT)
    assert path.is_symlink()
    assert len(ApiKeys(path=path)) == 1


def test_what_a_killed_maker_left_is_in_nobodys_way(path: Path) -> None:
    path.with_name("keys.toml.draft").write_text("half a bl")
    new_key(path, "anna", Role.CLIENT)
    assert list(path.parent.iterdir()) == [path]


def test_of_many_that_are_made_at_once_none_is_lost(path: Path) -> None:
    names = [f"engine-{n}" for n in range(40)]
    with ThreadPoolExecutor(len(names)) as makers:
        made = list(makers.map(lambda name: new_key(path, name, Role.ENGINE), names))
    keys = ApiKeys(path=path)
    found = [keys.find(secret.encode()) for secret in made]
    assert [key.name for key in found if key is not None] == names


@pytest.mark.parametrize("name", ["anna", "dispatcher", "a b", ""])
def test_a_name_that_can_not_be_had_leaves_the_file_as_it_is(path: Path, name: str) -> None:
    path.write_text(block())
    with pytest.raises(KeysError):
        new_key(path, name, Role.CLIENT)
    assert path.read_text() == block()
    assert list(path.parent.iterdir()) == [path]


def test_no_key_is_added_to_a_file_that_can_not_be_used(path: Path) -> None:
    path.write_text("[[key]]\n")
    with pytest.raises(KeysError, match="key number 1"):
        new_key(path, "anna", Role.CLIENT)
    assert path.read_text() == "[[key]]\n"


# The command line


@pytest.mark.anyio
async def test_key_new_prints_the_key_once_and_serve_takes_it_after_sighup(tmp_path: Path) -> None:
    first = await command(tmp_path, "key", "new", "olga", "--role", "operator", key=None)
    assert first.status == 0
    assert first.out.count("\n") == 1
    assert first.out.strip() not in first.err
    assert "after `dispatcher reload`" in first.err
    serve = ("serve", "--port", "0", "--keys", "keys.toml")
    async with started(tmp_path, *serve, key=None) as process:
        url = (await said_by(process, "Dispatcher ready")).split()[3].rstrip(",")
        second = await command(tmp_path, "key", "new", "rack-1", "--role", "engine", key=None)
        async with Client(url, first.out.strip()) as olga, Client(url, second.out.strip()) as rack:
            assert await olga.engines() == []
            with pytest.raises(RequestRefusedError, match="Unauthorized"):
                await rack.engines()
            process.send_signal(signal.SIGHUP)
            assert "keys.toml again; keys in force: 2." in await said_by(process, "Read")
            assert await rack.engines() == []
            with pytest.raises(RequestRefusedError, match="this needs the role 'client'"):
                await rack.submit("http://media/in.mp4", "h264")
        process.send_signal(signal.SIGTERM)
        assert (await ended(process)).status == 0
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(first.out.strip().encode() in content for content in written)


@pytest.mark.anyio
async def test_the_command_line_tells_what_is_wrong_with_keys(tmp_path: Path) -> None:
    (tmp_path / "keys.toml").write_text(block(role="boss"))
    serve, new, no_role, both = await asyncio.gather(
        command(tmp_path, "serve", "--port", "0", "--keys", "keys.toml", key=None),
        command(tmp_path, "key", "new", "bert", "--role", "engine", key=None),
        command(tmp_path, "key", "new", "bert", key=None),
        command(tmp_path, "serve", "--port", "0", "--keys", "keys.toml", "--no-auth", key=None),
    )
    fault = (
        "keys.toml: key 'anna': 'role' must be one of 'client', 'engine', 'operator', 'monitor'\n"
    )
    assert (serve.status, serve.err) == (1, f"dispatcher: {fault}")
    assert (new.status, new.out) == (1, "")
    assert new.err.endswith(fault)
    assert (no_role.status, both.status) == (2, 2)
    assert list(tmp_path.iterdir()) == [tmp_path / "keys.toml"]


@pytest.mark.anyio
async def test_what_an_engine_starts_does_not_inherit_the_key(tmp_path: Path) -> None:
    ffmpeg = program(tmp_path / "ffmpeg", 'echo "own: $(env | grep -c ^DISPATCHER_)" >&2', "exit 1")
    engine = ("engine", "--ffmpeg", str(ffmpeg), "--id", "e", "--work-dir", "work")
    done = await command(tmp_path, *engine, server="http://127.0.0.1:1", key=SECRET)
    assert "own: 0" in done.err
    assert SECRET not in done.err


@pytest.mark.anyio
async def test_the_command_line_binds_a_key_to_an_engine(tmp_path: Path) -> None:
    new = ("key", "new", "farm-7", "--role", "engine", "--engine", "farm-7")
    made = await command(tmp_path, *new, key=None)
    assert (made.status, made.out.count("\n")) == (0, 1)
    assert "This is the key 'farm-7' (engine, for engine farm-7 alone)." in made.err
    found = ApiKeys(path=tmp_path / "keys.toml").find(made.out.strip().encode())
    assert found is not None
    assert found.engine == "farm-7"
    other = await command(
        tmp_path, "key", "new", "b", "--role", "client", "--engine", "x", key=None
    )
    assert (other.status, other.out) == (1, "")
    assert "only a key with the role 'engine' can be bound" in other.err


# Revoking


def test_a_revoked_key_is_gone_and_all_else_in_the_file_stays(path: Path) -> None:
    path.write_text(f"# a\n\n{block('anna')}# about b\n{block('b', 'engine', '0' * 64)}\n# end\n")
    assert revoke_key(path, "anna").role is Role.CLIENT
    assert [key.name for key in read_keys(path)] == ["b"]
    left = f"# about b\n{block('b', 'engine', '0' * 64)}\n# end\n"
    assert path.read_text() == f"# a\n\n{left}"
    revoke_key(path, "b")
    assert read_keys(path) == []


@given(st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1), st.data())
def test_whichever_is_revoked_the_others_stay(names: list[str], data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "keys.toml"
        for name in names:
            new_key(path, name, data.draw(st.sampled_from(Role)))
        before = read_keys(path)
        gone = data.draw(st.sampled_from(names))
        assert revoke_key(path, gone).name == gone
        assert read_keys(path) == [key for key in before if key.name != gone]


def test_a_key_that_is_not_there_is_told_with_those_that_are(path: Path) -> None:
    path.write_text(block("anna"))
    with pytest.raises(KeysError, match="there is no key 'ann' in it; its keys: anna"):
        revoke_key(path, "ann")


def test_a_file_that_no_program_should_change_is_left_as_it_is(path: Path) -> None:
    text = f'key = [{{name = "anna", role = "client", sha256 = "{SHA256}"}}]\n'
    path.write_text(text)
    with pytest.raises(KeysError, match="only a person should change"):
        revoke_key(path, "anna")
    assert path.read_text() == text


@pytest.mark.anyio
async def test_keys_are_listed_and_revoked_and_reloaded_from_the_command_line(
    tmp_path: Path, db: Path
) -> None:
    path = tmp_path / "keys.toml"
    operator, other = (new_key(path, name, Role.OPERATOR) for name in ("anna", "bob"))
    keys = ApiKeys(path=path)
    async with running(db, keys=keys) as server:
        listed = await command(tmp_path, "key", "list")
        assert listed.out == "anna\toperator\t\nbob\toperator\t\n"
        revoked = await command(tmp_path, "key", "revoke", "bob")
        assert (revoked.status, revoked.out) == (0, "Key 'bob' (operator) revoked\n")
        assert (await command(tmp_path, "jobs", server=server.url, key=other)).status == 0
        done = await command(tmp_path, "reload", server=server.url, key=operator)
        assert (done.status, done.out) == (0, f"Read {path} again; keys in force: 1.\n")
        assert (await command(tmp_path, "jobs", server=server.url, key=other)).status == 4
        path.write_text("nonsense")
        done = await command(tmp_path, "reload", server=server.url, key=operator)
        assert done.status == 4
        assert "the keys in force stay what they were" in done.err
        assert (await command(tmp_path, "jobs", server=server.url, key=operator)).status == 0


@pytest.mark.anyio
async def test_without_files_there_is_nothing_to_reload(server: Running, tmp_path: Path) -> None:
    done = await command(tmp_path, "reload", server=server.url)
    assert done.status == 4
    assert "no keys file and no file of recipes" in done.err
