"""`dispatcher board`: the address of the board, signed in."""

import sys
from pathlib import Path

import httpx2
import pytest

from dispatcher.serving.keys import ApiKeys, Key, Role
from tests.support.commands import command, said_by, started
from tests.support.servers import KEY, Running, running

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)


async def test_it_prints_an_address_that_signs_in_once(server: Running, tmp_path: Path) -> None:
    done = await command(tmp_path, "board", "--no-open", server=f"{server.url}/")
    assert (done.status, done.err) == (0, "")
    page, _, token = done.out.strip().partition("#token=")
    assert page == f"{server.url}/"
    async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as browser:
        response = await browser.post("/sign_in/redeem", json={"token": token})
    assert response.json() == {"key": KEY}


async def test_it_opens_the_browser(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = tmp_path / "opened"
    browser = tmp_path / "browser.py"
    browser.write_text(f"import sys; open({str(opened)!r}, 'w').write(sys.argv[1])")
    monkeypatch.setenv("BROWSER", f"{sys.executable} {browser} %s")
    done = await command(tmp_path, "board", server=server.url)
    assert (done.status, done.err) == (0, "")
    assert opened.read_text() == done.out.strip()


async def test_without_a_browser_it_says_so(server: Running, tmp_path: Path) -> None:
    done = await command(tmp_path, "board", server=server.url)
    assert done.status == 0
    assert done.out.startswith(f"{server.url}/#token=")
    assert done.err == "There is no browser to open here; open the address yourself.\n"


async def test_an_engines_key_is_told_what_to_do(tmp_path: Path) -> None:
    keys = ApiKeys([Key.of("rack-1", Role.ENGINE, KEY)])
    async with running(tmp_path / "events.db", keys=keys) as server:
        done = await command(tmp_path, "board", server=server.url)
    assert (done.status, done.out) == (4, "")
    assert "'rack-1' is an engine's" in done.err
    assert "dispatcher key new" in done.err


async def test_a_wrong_key_is_refused(server: Running, tmp_path: Path) -> None:
    done = await command(tmp_path, "board", server=server.url, key="wrong")
    assert (done.status, done.out) == (4, "")


async def test_without_auth_the_address_has_no_token(tmp_path: Path) -> None:
    arguments = ("serve", "--port", "0", "--no-auth")
    async with started(tmp_path, *arguments, key=None) as serving:
        url = (await said_by(serving, "Dispatcher ready")).split()[3].rstrip(",")
        done = await command(tmp_path, "board", "--no-open", server=url, key=None)
        assert (done.status, done.out, done.err) == (0, f"{url}/\n", "")
