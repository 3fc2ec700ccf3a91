"""Calls about jobs, as clients make them: one, many, and all that match."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, TypedDict, Unpack

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
from dispatcher.client.calls import Calls, decode, given, quoted
from dispatcher.client.errors import RequestRefusedError
from dispatcher.core.replies import Explanation
from projections.jobs import JobView

__all__ = ["Filters", "JobCalls", "Matched"]

MANY_JOBS_S: Final = 600
"""How long the answer to a request about many jobs may take, beside the usual time."""


class Matched(msgspec.Struct, frozen=True):
    """How many jobs match, and of those how many were `done`; `reasons` are why others were not."""

    count: int
    done: int = 0
    not_done: int = 0
    reasons: dict[str, int] = {}


class Filters(TypedDict, total=False):
    """What a job must be like. What is left out, or `None`, does not matter.

    `status` may be several with commas between them. Each word of `text` is in one of a job's
    texts. `since` and `until` are about when a job was finished, or if it is not, submitted, and
    have a time zone. `parent` is the film that it is a part of; "" for jobs that are no parts.
    """

    status: str | None
    codec: str | None
    engine: str | None
    text: str | None
    since: datetime | None
    until: datetime | None
    parent: str | None


class JobCalls(Calls):
    """Calls about jobs."""

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
        after: Iterable[str] = (),
        tags: Iterable[str] = (),
        callback_url: str | None = None,
        on_warning: Callable[[str], None] | None = None,
    ) -> JobView:
        """Submit a job (protocol.md 1.1). `job_size` is in MB, `priority` 0 to 100.

        Submitting again with the same `idempotency_key` returns the first answer again. `recipe`
        has the fields of a recipe, or is the name of one that the dispatcher has. `output_name` is
        a template such as `{stem}-{codec}`. The job waits until those of `after` are completed.
        Only engines with all of the `tags` may have it. That it is over is posted to
        `callback_url`, if the dispatcher permits that.
        `on_warning` is called with what the dispatcher warns of, such as that no engine encodes the
        codec.
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
        if needed := [*after]:
            body["after"] = needed
        if callback_url is not None:
            body["callback_url"] = callback_url
        if listed := [*tags]:
            body["tags"] = listed
        key = idempotency_key
        if key is None and self._connection.asks_several:
            key = new_key()
        headers = {} if key is None else {"Idempotency-Key": key}
        response = await self._connection.call(
            "POST", "/jobs/", body, headers=headers, repeatable=True
        )
        if on_warning is not None and (warning := response.headers.get("X-Dispatcher-Warning")):
            on_warning(warning)
        return decode(response, JobView)

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
            lines = decode(answer, list[BatchLine])
            if answer.status_code == 409:  # noqa: PLR2004
                raise none_submitted(lines)
            return outcomes(lines, on_warning)
        done: list[JobView | RequestRefusedError] = []
        for part in parts(submissions):
            answer = await self._connection.call("POST", "/jobs/batch", part, repeatable=True)
            done += outcomes(decode(answer, list[BatchLine]), on_warning)
        return done

    async def job(self, job_id: str, *, as_of: int | str | None = None) -> JobView:
        """Show one job (protocol.md 1.2): now, or as it was at a seq or an RFC 3339 time."""
        path, query = f"/jobs/{quoted(job_id)}", given(as_of=as_of)
        return decode(await self._connection.call("GET", path, query=query), JobView)

    async def jobs(
        self,
        *,
        newest: bool = False,
        limit: int | None = None,
        after: str | None = None,
        as_of: int | str | None = None,
        **filters: Unpack[Filters],
    ) -> list[JobView]:
        """List jobs in order of submission (protocol.md 1.3): all, or those that match.

        With `newest` the order is reversed. To get the next page of a list with a `limit`, pass the
        id of its last job as `after`. `as_of` is that of `job`.
        """
        order = "newest" if newest else None
        query = _query(filters) | given(order=order, limit=limit, after=after, as_of=as_of)
        return decode(await self._connection.call("GET", "/jobs/", query=query), list[JobView])

    async def ids(self, prefix: str, limit: int = 10) -> list[str]:
        """List the first ids of jobs, in their order, that begin with a prefix."""
        query = {"prefix": prefix, "limit": limit}
        return decode(await self._connection.call("GET", "/jobs/ids", query=query), list[str])

    async def why(self, job_id: str, *, as_of: int | str | None = None) -> Explanation:
        """Return an explanation of why a job is in its state; `as_of` is that of `job`."""
        path, query = f"/jobs/{quoted(job_id)}/why", given(as_of=as_of)
        return decode(await self._connection.call("GET", path, query=query), Explanation)

    async def cancel(self, job_id: str) -> None:
        """Cancel a job."""
        await self._connection.call("DELETE", f"/jobs/{quoted(job_id)}")

    async def retry(self, job_id: str) -> None:
        """Re-queue a failed or cancelled job."""
        await self._connection.call("POST", f"/jobs/{quoted(job_id)}/retry")

    async def prioritize(self, job_id: str, priority: int) -> None:
        """Give a waiting job another priority, 0 to 100."""
        body = {"priority": priority}
        await self._connection.call("POST", f"/jobs/{quoted(job_id)}/priority", body)

    async def cancel_matching(
        self, *, dry_run: bool = False, **filters: Unpack[Filters]
    ) -> Matched:
        """Cancel all jobs that match, or with `dry_run` only count them. A filter is needed."""
        return await self._matching("cancel", filters, dry_run=dry_run)

    async def retry_matching(self, *, dry_run: bool = False, **filters: Unpack[Filters]) -> Matched:
        """Re-queue all jobs that match, or with `dry_run` only count them. A filter is needed."""
        return await self._matching("retry", filters, dry_run=dry_run)

    async def prioritize_matching(
        self, priority: int, *, dry_run: bool = False, **filters: Unpack[Filters]
    ) -> Matched:
        """Give all waiting jobs that match another priority, as `cancel_matching`."""
        return await self._matching("priority", filters, {"priority": priority}, dry_run=dry_run)

    async def _matching(
        self,
        action: str,
        filters: Filters,
        body: dict[str, Any] | None = None,
        *,
        dry_run: bool,
    ) -> Matched:
        query = _query(filters) | ({"dry_run": "true"} if dry_run else {})
        response = await self._connection.call(
            "POST",
            f"/jobs/{action}",
            body,
            query=query,
            wait_s=MANY_JOBS_S,
            repeatable=dry_run,
        )
        return decode(response, Matched)


def _query(filters: Filters) -> dict[str, Any]:
    if unknown := filters.keys() - Filters.__annotations__.keys():
        raise TypeError(f"there is no filter {min(unknown)!r}")
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in given(**filters).items()
    }
