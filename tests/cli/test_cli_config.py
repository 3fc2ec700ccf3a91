"""Settings: farms by their names, whose key goes where, and what counts first."""

import asyncio
import os
from pathlib import Path
from typing import Final

import pytest

from dispatcher.client import Client
from tests.support.commands import command
from tests.support.servers import KEY, Running
from tests.support.web import Answer, answering, web

pytestmark = pytest.mark.anyio

NOBODY: Final = "http://127.0.0.1:1"
SUBMIT: Final = ("submit", "http://media/in.mp4")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the settings are; there are none yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / "config" / "dispatcher" / "config.toml"
    path.parent.mkdir(parents=True)
    return path


def written(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


async def test_a_context_names_the_dispatcher_its_key_and_defaults(
    dispatcher: Client, server: Running, config: Path, tmp_path: Path
) -> None:
    key = config.with_name("home.key")
    written(key, f"{KEY}\n")
    written(
        config,
        f"""context = "home"
[contexts.home]
url = "{server.url}/"
key_file = "home.key"
[contexts.home.submit]
codec = "av1"
max-retries = 7
[contexts.away]
url = "{NOBODY}"
""",
    )
    done = await command(tmp_path, *SUBMIT, key=None)
    assert done.status == 0
    (job,) = await dispatcher.jobs()
    assert (job.target_codec, job.max_retries) == ("av1", 7)
    flag, there, named = await asyncio.gather(
        command(tmp_path, *SUBMIT, "--codec", "vp9", key=None),
        command(tmp_path, "jobs", key=None, server=server.url),
        command(tmp_path, "--context", "away", "jobs", key=None),
    )
    assert (flag.status, there.status) == (0, 0)
    assert [it.target_codec for it in await dispatcher.jobs()] == ["av1", "vp9"]
    assert named.status == 3
    assert NOBODY in named.err


async def test_the_environment_counts_before_the_context(
    server: Running, config: Path, tmp_path: Path
) -> None:
    written(config, f'context = "a"\n[contexts.a]\nurl = "{NOBODY}"\nkey = "k"\n')
    assert (await command(tmp_path, "jobs", server=server.url)).status == 0
    written(config, f'[contexts.a]\nurl = "{server.url}"\nkey = "wrong"\n[contexts.b]\n')
    assert (await command(tmp_path, "--context", "a", "jobs")).status == 0, "the key's variable"
    done = await command(tmp_path, "--context", "a", "jobs", key=None)
    assert done.status == 4
    assert "is that of the context a the key of that dispatcher" in done.err
    assert (await command(tmp_path, "--context", "b", "jobs", server=server.url)).status == 0


async def test_the_key_of_a_context_goes_to_no_other_dispatcher(
    config: Path, tmp_path: Path
) -> None:
    async with web(answering(Answer(401, b"no"))) as other:
        written(config, f'context = "a"\n[contexts.a]\nurl = "{NOBODY}"\nkey = "topsecret"\n')
        done = await command(tmp_path, "jobs", "--server", other.url, key=None)
    assert done.status == 4
    assert "none was given" in done.err


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('context = "a"\n[contexts.b]\n', ":1: context names 'a', and there is no [contexts.a]"),
        ("\ncontext = 5\n", ":2: context must be the name of a context, in quotes"),
        ("x = 1\n", ":1: x is no setting; there are: context, contexts"),
        ("contexts = 1\n", ":1: contexts must be a table, such as [contexts.home]"),
        ("[contexts.a]\nurl = 5\n", ":2: contexts.a.url must be a URL, or a list of URLs"),
        ('[contexts.a]\n\nurl = "a"\n', ":3: contexts.a.url is wrong: 'a' is no URL"),
        ('[contexts.a]\nkey = "k"\n', ":2: contexts.a.key needs a url beside it"),
        ('[contexts.a]\nkeyfile = "k"\n', ":2: contexts.a.keyfile is no setting"),
        ("[contexts\n", "is no TOML: "),
        (
            'context = "a"\n[contexts.a]\n[contexts.a.jobs]\nnothing = 1\n',
            ":4: contexts.a.jobs.nothing is no option of `dispatcher jobs`",
        ),
        (
            'context = "a"\n[contexts.a.jobs]\nlimit = "many"\n',
            ":3: contexts.a.jobs.limit is no value of that option: ",
        ),
        (
            'context = "a"\n[contexts.a.jobs]\nserver = "x"\n',
            ":3: contexts.a.jobs.server has no effect here; set the context's url instead",
        ),
    ],
)
async def test_an_error_names_the_file_and_the_line(
    config: Path, tmp_path: Path, text: str, fault: str
) -> None:
    written(config, text)
    done = await command(tmp_path, "jobs", server=NOBODY)
    assert (done.status, done.out) == (1, "")
    assert f"dispatcher: {config}" in done.err
    assert fault in done.err
    assert len(done.err.splitlines()) == 1
    assert (await command(tmp_path, "config", "path")).out == f"{config}\n"


async def test_an_unknown_context_is_told_which_there_are(config: Path, tmp_path: Path) -> None:
    written(config, "[contexts.b]\n[contexts.a]\n")
    done = await command(tmp_path, "--context", "c", "jobs", server=NOBODY)
    assert done.status == 1
    assert done.err.endswith("there is no context 'c'; there are: a, b\n")


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
async def test_a_key_that_others_can_read_is_refused(
    server: Running, config: Path, tmp_path: Path
) -> None:
    written(config, f'context = "a"\n[contexts.a]\nurl = "{server.url}"\nkey = "{KEY}"\n')
    assert (await command(tmp_path, "jobs", key=None)).status == 0
    config.chmod(0o644)
    done = await command(tmp_path, "jobs", key=None)
    assert done.status == 1
    assert f"run: chmod 600 {config}" in done.err
    key = config.with_name("a.key")
    key.write_text(KEY)
    key.chmod(0o640)
    written(config, f'context = "a"\n[contexts.a]\nurl = "{server.url}"\nkey_file = "a.key"\n')
    done = await command(tmp_path, "jobs", key=None)
    assert (done.status, f"chmod 600 {key}" in done.err) == (1, True)


async def test_settings_are_changed_with_their_comments_kept(config: Path, tmp_path: Path) -> None:
    async def does(*arguments: str) -> None:
        done = await command(tmp_path, "config", *arguments)
        assert (done.status, done.err) == (0, ""), arguments

    await does("set", "contexts.home.url", "http://a:8080")
    with config.open("a") as file:
        file.write("# the farm in the cellar\n")
    await does("set", "contexts.home.submit.max-retries", "5")
    await does("use", "home")
    text = config.read_text()
    assert "# the farm in the cellar\n" in text
    assert 'context = "home"' in text
    assert "max-retries = 5" in text
    assert config.stat().st_mode & 0o077 == 0
    shown = await command(tmp_path, "config", "show", "--json")
    assert shown.json == [
        {
            "context": "home",
            "chosen": True,
            "url": ["http://a:8080"],
            "has_key": False,
            "key_file": None,
            "defaults": {"submit": {"max-retries": 5}},
        }
    ]
    await does("unset", "contexts.home.submit.max-retries")
    assert "max-retries" not in config.read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ("set", "contexts.home.url", "nonsense"),
        ("set", "contexts.home.nothing", "5"),
        ("set", "context.home", "5"),
        ("set", "nothing", "5"),
        ("use", "nobody"),
        ("unset", "contexts.home"),
        ("unset", "contexts.nobody"),
    ],
)
async def test_a_change_that_would_be_an_error_changes_nothing(
    config: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    written(config, 'context = "home"\n[contexts.home]\nurl = "http://a"\n')
    before = config.read_bytes()
    done = await command(tmp_path, "config", *arguments)
    assert (done.status, done.out) == (1, "")
    assert "Traceback" not in done.err
    assert config.read_bytes() == before


async def test_two_changes_at_once_are_both_made(config: Path, tmp_path: Path) -> None:
    await asyncio.gather(
        *(command(tmp_path, "config", "set", f"contexts.c{n}.url", "http://a") for n in range(3))
    )
    assert config.read_text().count("[contexts.c") == 3


async def test_a_key_is_never_shown(config: Path, tmp_path: Path) -> None:
    written(config, '[contexts.home]\nurl = "http://a"\nkey = "topsecret"\n')
    for arguments in (("show",), ("show", "--json"), ("use", "home"), ("use", "x")):
        done = await command(tmp_path, "config", *arguments)
        assert "topsecret" not in done.out + done.err
