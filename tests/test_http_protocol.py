"""That uvicorn and httptools are as `dispatcher/http_protocol.py` takes them to be."""

import inspect
import re
from pathlib import Path
from typing import Any, Final

import httptools
import pytest
import uvicorn
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server, ServerState

PYPROJECT: Final = Path(__file__).parent.parent / "pyproject.toml"
CHANGED: Final = (
    f"uvicorn {uvicorn.__version__} is not as dispatcher/http_protocol.py needs it: %s. Read its "
    "httptools_impl.py again, adapt the subclass, and only then permit this version in pyproject."
)


def attributes_of(class_: type) -> set[str]:
    """What a class defines and what its methods assign to `self`."""
    assigned = re.findall(r"self\.(\w+)(?:: [^=\n]+)? = ", inspect.getsource(class_))
    return set(dir(class_)) | set(assigned)


@pytest.mark.parametrize(
    ("class_", "names"),
    [
        (
            HttpToolsProtocol,
            """connection_made connection_lost data_received on_message_begin on_headers_complete
            on_body on_message_complete on_response_complete
            _start_asgi_task connections cycle flow headers parser pipeline server_state
            timeout_keep_alive transport""",
        ),
        (
            RequestResponseCycle,
            "body disconnected message_event more_body response_complete response_started",
        ),
        (FlowControl, "read_paused write_paused pause_reading resume_reading"),
        (ServerState, "connections default_headers"),
        (Server, "on_tick server_state should_exit"),
    ],
)
def test_uvicorn_has_the_names_that_the_limits_are_built_on(class_: type, names: str) -> None:
    missing = set(names.split()) - attributes_of(class_)
    assert not missing, CHANGED % f"{class_.__name__} has no {', '.join(sorted(missing))}"


@pytest.mark.parametrize(
    ("function", "line"),
    [
        (HttpToolsProtocol.on_headers_complete, "self.pipeline.appendleft((self.cycle, app))"),
        (HttpToolsProtocol.on_headers_complete, "on_response=self.on_response_complete"),
        (HttpToolsProtocol.on_response_complete, "cycle, app = self.pipeline.pop()"),
        (HttpToolsProtocol.on_response_complete, "self._start_asgi_task(cycle, app)"),
        (HttpToolsProtocol.on_body, "self.cycle.body += body"),
        (HttpToolsProtocol.on_message_complete, "self.cycle.more_body = False"),
        (HttpToolsProtocol.on_message_begin, "self.headers = []"),
        (HttpToolsProtocol.on_message_begin, '"headers": self.headers,'),
        (HttpToolsProtocol.connection_lost, "self.cycle.disconnected = True"),
        (HttpToolsProtocol.__init__, "set_dangerous_leniencies(lenient_data_after_close=True)"),
        (RequestResponseCycle.send, "if self.disconnected:"),
        (RequestResponseCycle.receive, "self.flow.resume_reading()"),
        (Server.main_loop, "await asyncio.sleep(0.1)"),
        (Server.startup, "config.http_protocol_class("),
    ],
)
def test_uvicorn_uses_them_as_the_limits_do(function: Any, line: str) -> None:
    assert line in inspect.getsource(function), CHANGED % f"{function.__qualname__} lacks {line!r}"


def test_a_status_line_has_its_reason() -> None:
    line = httptools_impl.STATUS_LINE[431]
    told = CHANGED % "STATUS_LINE has other lines"
    assert line == b"HTTP/1.1 431 Request Header Fields Too Large\r\n", told


def test_an_upgrade_says_where_the_head_ends() -> None:
    head = b"POST / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\n"
    with pytest.raises(httptools.HttpParserUpgrade) as upgrade:
        httptools.HttpRequestParser(object()).feed_data(head + b"body")
    assert upgrade.value.args[0] == len(head)


def test_only_the_minor_version_of_uvicorn_that_was_read_is_permitted() -> None:
    major, minor = map(int, uvicorn.__version__.split(".")[:2])
    permitted = f'"uvicorn>={major}.{minor},<{major}.{minor + 1}"'
    assert permitted in PYPROJECT.read_text(), CHANGED % f"pyproject.toml lacks {permitted}"
