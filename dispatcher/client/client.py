"""The client class: one method for each route of the dispatcher's API, with typed results.

async with Client("http://127.0.0.1:8080", api_key) as client:
    job = await client.submit("file:///videos/clip.mov", "vp9")
"""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar
from urllib.parse import quote, unquote

import httpx2
import msgspec

from dispatcher.client.batches import (
    BatchLine,
    Submission,
    new_key,
    none_submitted,
    outcomes,
    parts,
    with_keys,
)
from dispatcher.client.certificates import certificate
from dispatcher.client.connection import Connection, RequestRefusedError
from dispatcher.client.keys import KeyView, SignIn
from dispatcher.client.stream import follow
from dispatcher.client.transfers import (
    PATIENCE_S,
    OutputInfo,
    StoreInfo,
    Told,
    digest_of,
    download,
    ignored,
    output_info,
    store_info,
    upload,
)
from dispatcher.core.replies import Explanation
from dispatcher.log.serialization import LogEntry
from dispatcher.results import Result
from dispatcher.store_urls import StoreUrl
from dispatcher.urls import masked
from projections.engines import EngineView
from projections.forecast import Forecast
from projections.jobs import JobView
from projections.series import SeriesShown
from projections.speeds import SpeedsShown
from projections.statistics import FarmNow

T = TypeVar("T")

__all__ = ["Client", "FailureCause", "Matched"]

FailureCause = Literal["source_bad", "source_away", "engine", "unknown"]
"""What an engine can say of the cause of a failure: a source that no retry makes better, one that
can't be had now, or the engine itself."""


MANY_JOBS_S: Final = 600
"""How long the answer to a request about many jobs may take, beside the usual time."""


class Matched(msgspec.Struct, frozen=True):
    """How many jobs match, and of those how many were `done`; `reasons` are why others were not."""

    count: int
    done: int = 0
    not_done: int = 0
    reasons: dict[str, int] = {}


class _Path(msgspec.Struct):
    path: list[bytes]  # base64 on the wire


class Client:
    """A client of a dispatcher. Every method may raise the two errors of `errors`.

    `server` is its URL. Of several dispatchers of one log the client may know all, as a list or as
    a text with commas; it then turns to another when one is away (see `servers`).
    """

    def __init__(
        self, server: str | Sequence[str], api_key: str | None = None, *, timeout_s: float = 30
    ) -> None:
        self._connection = Connection(server, api_key, timeout_s)
        self.server = self._connection.server

    async def __aenter__(self) -> Self:
        """Use as a context manager, so that the connections are closed at the end."""
        await self._connection.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self._connection.__aexit__(kind, error, traceback)

    async def submit(  # noqa: PLR0913 - a job has as many fields
        self,
        source_url: str,
        target_codec: str,
        *,
        job_size: float = 0.0,
        max_retries: int = 3,
        priority: int = 0,
        idempotency_key: str | None = None,
        recipe: Mapping[str, Any] | str | None = None,
        output_name: str | None = None,
        on_warning: Callable[[str], None] | None = None,
    ) -> JobView:
        """Submit a job (protocol.md 1.1). `job_size` is in MB, `priority` 0 to 100.

        Submitting again with the same `idempotency_key` returns the first answer again. `recipe`
        has the fields of a recipe, or is the name of one that the dispatcher has. `output_name` is
        a template such as `{stem}-{codec}`. `on_warning` is called with what the dispatcher warns
        of, such as that no engine encodes the codec.
        """
        body: dict[str, Any] = {
            "source_url": source_url,
            "target_codec": target_codec,
            "job_size": job_size,
            "max_retries": max_retries,
            "priority": priority,
        }
        if recipe is not None:
            body["recipe"] = recipe
        if output_name is not None:
            body["output_name"] = output_name
        key = idempotency_key
        if key is None and self._connection.asks_several:
            key = new_key()
        headers = {} if key is None else {"Idempotency-Key": key}
        response = await self._connection.call(
            "POST", "/jobs/", body, headers=headers, repeatable=True
        )
        if on_warning is not None and (warning := response.headers.get("X-Dispatcher-Warning")):
            on_warning(warning)
        return _decode(response, JobView)

    async def submit_many(
        self,
        submissions: Iterable[Submission],
        *,
        is_atomic: bool = False,
        on_warning: Callable[[str], None] | None = None,
    ) -> list[JobView | RequestRefusedError]:
        """Submit many jobs; return the job of each, or why it was refused, in their order.

        They are sent in parts of up to 1,000, one after the other. If a part can't be sent, those
        before it are submitted, and with an `idempotency_key` each it does no harm to send all
        again. With `is_atomic` they are sent as one, of up to 10,000, and if one is refused none is
        submitted: `RequestRefusedError`. `on_warning` is that of `submit`.
        """
        if self._connection.asks_several:
            submissions = with_keys(submissions)
        if is_atomic:
            everything = [*submissions]
            query = {"atomic": "true"}
            answer = await self._connection.call(
                "POST", "/jobs/batch", everything, query=query, accept=409, repeatable=True
            )
            lines = _decode(answer, list[BatchLine])
            if answer.status_code == 409:  # noqa: PLR2004
                raise none_submitted(lines)
            return outcomes(lines, on_warning)
        done: list[JobView | RequestRefusedError] = []
        for part in parts(submissions):
            answer = await self._connection.call("POST", "/jobs/batch", part, repeatable=True)
            done += outcomes(_decode(answer, list[BatchLine]), on_warning)
        return done

    async def job(self, job_id: str) -> JobView:
        """Show one job (protocol.md 1.2)."""
        return _decode(await self._connection.call("GET", f"/jobs/{_quoted(job_id)}"), JobView)

    async def jobs(  # noqa: PLR0913 - a list has as many filters
        self,
        *,
        status: str | None = None,
        codec: str | None = None,
        engine: str | None = None,
        text: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        newest: bool = False,
        limit: int | None = None,
        after: str | None = None,
    ) -> list[JobView]:
        """List jobs in order of submission (protocol.md 1.3): all, or those that match.

        `status` may be several with commas between them. Each word of `text` is in one of a job's
        texts. `since` and `until` are about when a job was finished, or if it is not, submitted,
        and have a time zone. With `newest` the order is reversed. To get the next page of a list
        with a `limit`, pass the id of its last job as `after`.
        """
        query = _filters(status, codec, engine, text, since, until)
        asked = {"order": "newest" if newest else None, "limit": limit, "after": after}
        query |= {name: value for name, value in asked.items() if value is not None}
        return _decode(await self._connection.call("GET", "/jobs/", query=query), list[JobView])

    async def why(self, job_id: str) -> Explanation:
        """Return an explanation of why a job is in its present state."""
        return _decode(
            await self._connection.call("GET", f"/jobs/{_quoted(job_id)}/why"), Explanation
        )

    async def statistics(self, *, as_of: int | str | None = None) -> FarmNow:
        """Count jobs by status and codec, and engines by state: now, or at a seq or a time.

        A time is one of RFC 3339.
        """
        return await self._numbers("now", {"as_of": as_of}, FarmNow)

    async def series(self, hours: int = 24, *, as_of: int | str | None = None) -> SeriesShown:
        """Show what happened in the last hours, step by step, until now or another moment."""
        return await self._numbers("series", {"hours": hours, "as_of": as_of}, SeriesShown)

    async def speeds(self, *, as_of: int | str | None = None) -> SpeedsShown:
        """Show how long jobs took, by codec on the farm and on each engine."""
        return await self._numbers("speeds", {"as_of": as_of}, SpeedsShown)

    async def forecast(self, limit: int = 200, *, as_of: int | str | None = None) -> Forecast:
        """Tell when what runs and waits will be done, with the first `limit` jobs that wait."""
        return await self._numbers("forecast", {"limit": limit, "as_of": as_of}, Forecast)

    async def cancel(self, job_id: str) -> None:
        """Cancel a job."""
        await self._connection.call("DELETE", f"/jobs/{_quoted(job_id)}")

    async def retry(self, job_id: str) -> None:
        """Re-queue a failed or cancelled job."""
        await self._connection.call("POST", f"/jobs/{_quoted(job_id)}/retry")

    async def prioritize(self, job_id: str, priority: int) -> None:
        """Give a waiting job another priority, 0 to 100."""
        body = {"priority": priority}
        await self._connection.call("POST", f"/jobs/{_quoted(job_id)}/priority", body)

    async def cancel_matching(  # noqa: PLR0913 - a list has as many filters
        self,
        *,
        status: str | None = None,
        codec: str | None = None,
        engine: str | None = None,
        text: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        dry_run: bool = False,
    ) -> Matched:
        """Cancel all jobs that match, or with `dry_run` only count them. A filter is needed."""
        filters = _filters(status, codec, engine, text, since, until)
        return await self._matching("cancel", filters, dry_run=dry_run)

    async def retry_matching(  # noqa: PLR0913 - a list has as many filters
        self,
        *,
        status: str | None = None,
        codec: str | None = None,
        engine: str | None = None,
        text: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        dry_run: bool = False,
    ) -> Matched:
        """Re-queue all jobs that match, or with `dry_run` only count them. A filter is needed."""
        filters = _filters(status, codec, engine, text, since, until)
        return await self._matching("retry", filters, dry_run=dry_run)

    async def prioritize_matching(  # noqa: PLR0913 - a list has as many filters
        self,
        priority: int,
        *,
        status: str | None = None,
        codec: str | None = None,
        engine: str | None = None,
        text: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        dry_run: bool = False,
    ) -> Matched:
        """Give all waiting jobs that match another priority, as `cancel_matching`."""
        filters = _filters(status, codec, engine, text, since, until)
        return await self._matching("priority", filters, {"priority": priority}, dry_run=dry_run)

    async def _matching(
        self,
        action: str,
        filters: dict[str, Any],
        body: dict[str, Any] | None = None,
        *,
        dry_run: bool,
    ) -> Matched:
        query = filters | ({"dry_run": "true"} if dry_run else {})
        response = await self._connection.call(
            "POST",
            f"/jobs/{action}",
            body,
            query=query,
            wait_s=MANY_JOBS_S,
            repeatable=dry_run,
        )
        return _decode(response, Matched)

    async def drain_engine(self, engine_id: str) -> None:
        """Let an engine finish its job and give it no more."""
        await self._connection.call("POST", f"/engines/{_quoted(engine_id)}/drain")

    async def resume_engine(self, engine_id: str) -> None:
        """Give a drained or blocked engine jobs again."""
        await self._connection.call("POST", f"/engines/{_quoted(engine_id)}/resume")

    async def forget_engine(self, engine_id: str) -> None:
        """Take an engine off the list."""
        await self._connection.call("DELETE", f"/engines/{_quoted(engine_id)}")

    async def heartbeat(self, engine_id: str, report: dict[str, Any] | None = None) -> list[str]:
        """Register an engine, or update what it reports about itself (protocol.md 2.1).

        Returns the dispatcher's orders: `drain`, or `cancel JOB_ID` for a job that the report named
        as `current_job` and that the engine no longer holds.
        """
        body = {**(report or {}), "engine_id": engine_id}
        response = await self._connection.call("POST", "/engines/heartbeat", body, repeatable=True)
        orders = response.headers.get("X-Dispatcher-Order", "").split(", ")
        return [unquote(order) for order in orders if order]

    async def benchmark_result(self, engine_id: str, benchmark_time: float) -> None:
        """Report how many seconds an engine's benchmark took."""
        body = {"engine_id": engine_id, "benchmark_time": benchmark_time}
        path = "/engines/benchmark_result"
        await self._connection.call("POST", path, body, repeatable=True)

    async def engines(self) -> list[EngineView]:
        """List all engines, in order of first heartbeat (protocol.md 2.2)."""
        response = await self._connection.call("GET", "/engines/")
        wires = _decode(response, list[dict[str, Any]])
        try:
            return [EngineView.from_wire(wire) for wire in wires]
        except msgspec.ValidationError as error:
            raise _no_dispatcher(response, error) from error

    async def recipes(self) -> list[dict[str, Any]]:
        """List the recipes that a job can name, each with its `name` and its fields."""
        response = await self._connection.call("GET", "/recipes/")
        return _decode(response, list[dict[str, Any]])

    async def reload(self) -> list[str]:
        """Have the dispatcher read its files of keys and recipes again; return what it says."""
        return (await self._connection.call("POST", "/reload")).text.splitlines()

    @property
    def asked_first(self) -> str:
        """The URL of the dispatcher that is asked first: the one that answered last."""
        return self._connection.asked_first

    async def key(self) -> KeyView:
        """Say whose key the client has, and which role."""
        return _decode(await self._connection.call("GET", "/key"), KeyView)

    async def sign_in(self) -> SignIn:
        """Make a token with which a browser gets the client's key, once, at `/#token=…`."""
        return _decode(await self._connection.call("POST", "/sign_in"), SignIn)

    async def store(self) -> StoreInfo:
        """Say whether the dispatcher has a store, and how large a file may be."""
        return await store_info(self._connection)

    async def upload(
        self,
        path: Path,
        *,
        name: str | None = None,
        sha256: str | None = None,
        progress: Told = ignored,
        patience_s: float | None = PATIENCE_S,
    ) -> str:
        """Send a file to the store, unless it is there; gives its URL, with the `name`.

        `sha256` is that of the file, if it is known. What was sent by an upload that was cut off is
        not sent again. `progress` is called with the number of bytes that are there, and a
        dispatcher that is away is asked again for `patience_s`; `None`: for ever.
        """
        sha256 = sha256 or await digest_of(path)
        await upload(self._connection, path, sha256, progress, patience_s=patience_s)
        return str(StoreUrl(sha256, path.name if name is None else name))

    async def download(
        self,
        sha256: str,
        target: Path,
        *,
        max_bytes: float | None = None,
        progress: Told = ignored,
        patience_s: float | None = PATIENCE_S,
    ) -> None:
        """Receive a file of the store into `target`, and go on with what is there of it.

        Raises `DamagedError` if it is another file, and nothing of that stays. With a file over
        `max_bytes`, `RequestRefusedError` of the status 413. See `upload` for the rest.
        """
        await download(
            self._connection,
            f"/store/{sha256}",
            target,
            sha256,
            progress,
            max_bytes=max_bytes,
            patience_s=patience_s,
        )

    async def output_info(self, job_id: str) -> OutputInfo:
        """Say what the output of a job is called, how large it is, and its SHA-256.

        `RequestRefusedError` if it is not in the dispatcher's store.
        """
        return await output_info(self._connection, f"/jobs/{_quoted(job_id)}/output")

    async def fetch_output(
        self, job_id: str, info: OutputInfo, target: Path, *, progress: Told = ignored
    ) -> None:
        """Receive the output of a job into `target`; see `download`."""
        path = f"/jobs/{_quoted(job_id)}/output"
        await download(self._connection, path, target, info.sha256, progress)

    async def checkpoint(self) -> str:
        """Return a signed checkpoint of the log's present size and root; see `checkpoints`."""
        return (await self._connection.call("GET", "/log/checkpoint")).text

    async def certificate(self, job_id: str) -> dict[str, Any]:
        """Gather the certificate of a completed job: its events, and proofs that the log has them.

        `RequestRefusedError` if the job is not completed.
        """
        return await certificate(self._connection, job_id)

    async def consistency(self, old: int, new: int) -> list[bytes]:
        """Return the proof that the log of `new` events begins with that of `old`."""
        query = {"from": old, "to": new}
        response = await self._connection.call("GET", "/log/consistency", query=query)
        return _decode(response, _Path).path

    async def shown(self, path: str, as_of: int | None = None) -> tuple[int, list[Any]]:
        """Return a list as it is on the wire, now or as of a seq; the seq comes first."""
        query = None if as_of is None else {"as_of": as_of}
        response = await self._connection.call("GET", path, query=query)
        try:
            seq = int(response.headers["X-Dispatcher-Seq"])
        except (KeyError, ValueError) as error:
            raise _no_dispatcher(response, error) from error
        return seq, _decode(response, list[Any])

    async def events(
        self,
        *,
        after: int = 0,
        limit: int | None = None,
        event_type: str | None = None,
        job: str | None = None,
        engine: str | None = None,
    ) -> list[LogEntry]:
        """List events after a seq, oldest first: all, or those that match; at most one page."""
        asked = {"after": after, "limit": limit} | _selection(event_type, job, engine)
        return await self._entries("/events", asked)

    async def job_events(self, job_id: str) -> list[LogEntry]:
        """List all events of a job, oldest first."""
        return await self._entries(f"/jobs/{_quoted(job_id)}/events")

    async def engine_events(self, engine_id: str) -> list[LogEntry]:
        """List all events of an engine, oldest first."""
        return await self._entries(f"/engines/{_quoted(engine_id)}/events")

    def stream(
        self,
        *,
        after: int | None = None,
        event_type: str | None = None,
        job: str | None = None,
        engine: str | None = None,
    ) -> AsyncGenerator[LogEntry, None]:
        """Yield events as they happen, after a seq or from now on, without an end.

        No event is left out or yielded twice, however often the connection breaks or the dispatcher
        restarts. An unreachable dispatcher is an error only at the very beginning. To stop, close
        the generator (`contextlib.aclosing`).
        """
        return follow(self._connection, _selection(event_type, job, engine), after)

    async def assign(
        self,
        engine_id: str | None = None,
        *,
        resume: bool = False,
        wait_s: float = 0,
        instance: str | None = None,
    ) -> JobView | None:
        """Ask for a job; `None` if there is none within `wait_s` seconds (protocol.md 2.5).

        With `resume`, an engine that holds a job gets that job again.
        """
        body = _sender(engine_id, None, instance)
        if resume:
            body["resume"] = True
        if wait_s > 0:
            body["wait_s"] = wait_s
        again = resume and engine_id is not None
        response = await self._connection.call(
            "POST", "/assign_job/", body, wait_s=wait_s, repeatable=again
        )
        return (
            None if response.status_code == httpx2.codes.NO_CONTENT else _decode(response, JobView)
        )

    async def complete(  # noqa: PLR0913 - a report has as many fields
        self,
        job_id: str,
        output_url: str,
        *,
        engine_id: str | None = None,
        attempt: int | None = None,
        instance: str | None = None,
        result: Result | None = None,
    ) -> None:
        """Report a job's output (protocol.md 2.3); see `fail` for the other fields."""
        path = f"/jobs/{_quoted(job_id)}/complete"
        body = {"output_url": output_url} | _sender(engine_id, attempt, instance)
        if result is not None:
            body["result"] = result.wire()
        await self._connection.call("POST", path, body, repeatable=True)

    async def fail(  # noqa: PLR0913 - a report has as many fields
        self,
        job_id: str,
        error_message: str,
        *,
        engine_id: str | None = None,
        attempt: int | None = None,
        instance: str | None = None,
        cause: FailureCause = "unknown",
        given_back: bool = False,
    ) -> str:
        """Report that an attempt failed (protocol.md 2.4). Returns the text of the answer.

        With `engine_id` and `attempt`, the report is refused (409) unless they still hold the job,
        and with `instance` if that was replaced. A job that is `given_back` pays nothing.
        """
        path = f"/jobs/{_quoted(job_id)}/fail"
        body = {"error_message": error_message} | _sender(engine_id, attempt, instance)
        if cause != "unknown":
            body["cause"] = cause
        if given_back:
            body["given_back"] = True
        again = attempt is not None
        return (await self._connection.call("POST", path, body, repeatable=again)).text

    async def _numbers(self, name: str, asked: dict[str, Any], of_type: type[T]) -> T:
        query = {key: value for key, value in asked.items() if value is not None}
        return _decode(
            await self._connection.call("GET", f"/statistics/{name}", query=query), of_type
        )

    async def _entries(self, path: str, asked: dict[str, Any] | None = None) -> list[LogEntry]:
        query = {name: value for name, value in (asked or {}).items() if value is not None}
        lines = _decode(await self._connection.call("GET", path, query=query), list[msgspec.Raw])
        return [self._connection.entry(bytes(line)) for line in lines]


def _quoted(name: str) -> str:
    """Quote an id as one path segment. Nothing can have an id that can't be one: a 404."""
    if name in {"", ".", ".."}:
        raise RequestRefusedError(httpx2.codes.NOT_FOUND, f"there can be nothing named {name!r}")
    return quote(name, safe="", errors="surrogatepass")


def _filters(  # noqa: PLR0913, PLR0917 - a list has as many filters
    status: str | None,
    codec: str | None,
    engine: str | None,
    text: str | None,
    since: datetime | None,
    until: datetime | None,
) -> dict[str, Any]:
    fields = {
        "status": status,
        "codec": codec,
        "engine": engine,
        "text": text,
        "since": None if since is None else since.isoformat(),
        "until": None if until is None else until.isoformat(),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _selection(event_type: str | None, job: str | None, engine: str | None) -> dict[str, Any]:
    fields = {"type": event_type, "job": job, "engine": engine}
    return {name: value for name, value in fields.items() if value is not None}


def _sender(engine_id: str | None, attempt: int | None, instance: str | None) -> dict[str, Any]:
    fields = {"engine_id": engine_id, "attempt": attempt, "instance": instance}
    return {name: value for name, value in fields.items() if value is not None}


def _decode(response: httpx2.Response, of_type: type[T]) -> T:
    try:
        return msgspec.json.decode(response.content, type=of_type)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _no_dispatcher(response, error) from error


def _no_dispatcher(response: httpx2.Response, error: Exception) -> RequestRefusedError:
    return RequestRefusedError(
        response.status_code,
        f"{masked(str(response.url))} did not answer as a dispatcher does: {error}",
    )
