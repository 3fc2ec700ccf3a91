"""Whether a person uses the machine, as the system's programs tell; scripts stand in for them."""

import time
from pathlib import Path

import pytest

from dispatcher.engine.presence import Presence, PresenceError
from dispatcher.engine.resting import Resting
from tests.support.engines import program
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine

pytestmark = pytest.mark.anyio


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the programs are that can be found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("DISPLAY", raising=False)
    return folder


async def test_x_tells_for_how_long_nobody_was_there(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(programs / "xprintidle", "echo 90000")
    program(programs / "loginctl", "exit 1")
    monkeypatch.setenv("DISPLAY", ":0")
    presence = await Presence.find()
    assert (presence.program, await presence.idle_s()) == ("xprintidle", 90.0)


async def test_logind_tells_since_when_nobody_was_there(programs: Path) -> None:
    since_us = round((time.time() - 600) * 1_000_000)
    program(programs / "xprintidle", "echo 0")  # of which X server?
    program(programs / "loginctl", f"echo IdleHint=yes; echo IdleSinceHint={since_us}")
    presence = await Presence.find()
    assert presence.program == "loginctl"
    assert await presence.idle_s() >= 600


async def test_logind_tells_that_somebody_is_there(programs: Path) -> None:
    program(programs / "loginctl", "echo IdleHint=no; echo IdleSinceHint=1000000")
    assert await (await Presence.find()).idle_s() == 0


async def test_a_system_that_does_not_tell_is_refused_with_what_was_asked(programs: Path) -> None:
    program(programs / "loginctl", "echo 'Failed to connect to bus: No such file' >&2; exit 1")
    with pytest.raises(PresenceError) as caught:
        await Presence.find()
    assert str(caught.value) == (
        "--when-idle: this system does not tell whether a person uses it (xprintidle: this process "
        "has no DISPLAY; loginctl: Failed to connect to bus: No such file); leave the option out, "
        "or give the engine --hours"
    )


async def test_what_a_program_makes_up_is_not_believed(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    program(programs / "xprintidle", "echo soon")
    program(programs / "loginctl", "echo IdleHint=yes")
    with pytest.raises(PresenceError, match="xprintidle: it printed 'soon'; loginctl: it printed"):
        await Presence.find()


async def test_an_engine_rests_while_a_person_works_and_when_that_can_not_be_told(
    programs: Path,
) -> None:
    told = programs / "told"
    program(programs / "loginctl", f"while read -r it; do echo $it; done < {told}")
    since_us = round((time.time() - 90) * 1_000_000)
    told.write_text(f"IdleHint=yes\nIdleSinceHint={since_us}\n")
    presence = await Presence.find()
    assert await Resting(presence=presence, idle_min=1).reason() is None
    resting = Resting(presence=presence, idle_min=60)
    assert await resting.reason() == "a person has used the machine in the last 60 minutes"
    told.unlink()
    why = await resting.reason()
    assert why is not None
    assert why.startswith("loginctl can't tell whether a person uses the machine: ")
