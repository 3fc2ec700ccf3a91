"""One class for all that a caller of the library may catch, and for what ends a command."""

import pytest

from dispatcher import cli, client
from dispatcher.client import DispatcherAwayError, RequestRefusedError
from dispatcher.engine.delivery import DeliveryError
from dispatcher.engine.ffmpeg import FfmpegError, FfmpegMissingError
from dispatcher.engine.sources import SourceError
from dispatcher.engine.workspace import WorkspaceError
from dispatcher.errors import DispatcherError
from dispatcher.locks import LockHeldError
from dispatcher.log import LogError, WrongHeadError
from dispatcher.log.checkpoints import CheckpointError, CheckpointKeyError
from dispatcher.server import ListenError
from dispatcher.serving.keys import KeysError
from dispatcher.state.moments import MomentError
from dispatcher.state.snapshots import SnapshotError

FORESEEN = (
    *(CheckpointError, CheckpointKeyError, DeliveryError, FfmpegError, FfmpegMissingError),
    *(KeysError, ListenError, LockHeldError, LogError, MomentError, SnapshotError, SourceError),
    *(WorkspaceError, WrongHeadError),
)


@pytest.mark.parametrize("kind", FORESEEN, ids=lambda kind: kind.__name__)
def test_a_foreseen_error_is_a_dispatcher_error(kind: type[Exception]) -> None:
    assert issubclass(kind, DispatcherError)
    assert kind.exit_code == 1


@pytest.mark.parametrize("kind", [CheckpointError, MomentError])
def test_what_is_a_wrong_value_is_a_value_error_too(kind: type[Exception]) -> None:
    assert issubclass(kind, ValueError)


def test_a_client_has_the_class_at_hand() -> None:
    assert client.DispatcherError is DispatcherError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LogError("the log is away"), 1),
        (ListenError("the port is taken"), 1),
        (DispatcherAwayError("it can't be reached"), 3),
        (RequestRefusedError(409, "it is another's"), 4),
        (DispatcherError("something else"), 1),
    ],
    ids=lambda it: type(it).__name__,
)
def test_a_foreseen_error_ends_a_command_with_a_line_and_its_code(
    error: DispatcherError,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == code
    assert capsys.readouterr().err == f"dispatcher: {error}\n"


@pytest.mark.parametrize("kind", [ValueError, OSError, KeyError])
def test_any_other_error_is_a_defect_and_is_shown_as_one(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise kind

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(kind):
        cli.main()
