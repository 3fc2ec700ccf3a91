"""Calls about engines: what operators do with them, and what an engine itself reports and asks."""

from typing import Any, Literal
from urllib.parse import unquote

import httpx2
import msgspec

from dispatcher.client.calls import Calls, decode, given, no_dispatcher, quoted
from dispatcher.results import Result
from dispatcher.segments import Plan
from projections.engines import EngineView
from projections.jobs import JobView

__all__ = ["EngineCalls", "FailureCause"]

FailureCause = Literal["source_bad", "source_away", "engine", "inexact", "unknown"]
"""What an engine can say of the cause of a failure: a source that no retry makes better, one that
can't be had now, the engine itself, or that a part of a film can't be made exactly."""


class EngineCalls(Calls):
    """Calls about engines, and those that engines make."""

    async def engines(self, *, as_of: int | str | None = None) -> list[EngineView]:
        """List all engines, in order of first heartbeat (protocol.md 2.2).

        With `as_of`, as they were at a seq or an RFC 3339 time.
        """
        response = await self._connection.call("GET", "/engines/", query=given(as_of=as_of))
        wires = decode(response, list[dict[str, Any]])
        try:
            return [EngineView.from_wire(wire) for wire in wires]
        except msgspec.ValidationError as error:
            raise no_dispatcher(response, error) from error

    async def drain_engine(self, engine_id: str) -> None:
        """Let an engine finish its job and give it no more."""
        await self._connection.call("POST", f"/engines/{quoted(engine_id)}/drain")

    async def resume_engine(self, engine_id: str) -> None:
        """Give a drained or blocked engine jobs again."""
        await self._connection.call("POST", f"/engines/{quoted(engine_id)}/resume")

    async def forget_engine(self, engine_id: str) -> None:
        """Take an engine off the list."""
        await self._connection.call("DELETE", f"/engines/{quoted(engine_id)}")

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
        body = given(engine_id=engine_id, instance=instance)
        if resume:
            body["resume"] = True
        if wait_s > 0:
            body["wait_s"] = wait_s
        again = resume and engine_id is not None
        response = await self._connection.call(
            "POST", "/assign_job/", body, wait_s=wait_s, repeatable=again
        )
        return (
            None if response.status_code == httpx2.codes.NO_CONTENT else decode(response, JobView)
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
        path = f"/jobs/{quoted(job_id)}/complete"
        body = {"output_url": output_url} | given(
            engine_id=engine_id, attempt=attempt, instance=instance
        )
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
        path = f"/jobs/{quoted(job_id)}/fail"
        body = {"error_message": error_message} | given(
            engine_id=engine_id, attempt=attempt, instance=instance
        )
        if cause != "unknown":
            body["cause"] = cause
        if given_back:
            body["given_back"] = True
        again = attempt is not None
        return (await self._connection.call("POST", path, body, repeatable=again)).text

    async def split(
        self,
        job_id: str,
        plan: Plan,
        *,
        engine_id: str | None = None,
        attempt: int | None = None,
        instance: str | None = None,
    ) -> str:
        """Give the plan by which a film is split; its attempt is over then, at no cost.

        The parts of the plan become jobs. When all are done, the film's job comes back, to be
        joined. Returns the text of the answer. Refused as `fail` is, and if there is no store.
        """
        path = f"/jobs/{quoted(job_id)}/split"
        body = plan.wire() | given(engine_id=engine_id, attempt=attempt, instance=instance)
        return (await self._connection.call("POST", path, body, repeatable=True)).text
