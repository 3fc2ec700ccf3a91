"""A dispatcher with one job of each kind, which lists can be asked for."""

from typing import Any, Final, NamedTuple

import httpx2

from tests.support.farm import assigned, beat, submitted

__all__ = ["NAMES", "Kinds", "kinds_of", "made"]

NAMES: Final = ("done", "failed", "cancelled", "running", "first", "last")


class Kinds(NamedTuple):
    """A dispatcher with a job of each kind, by its name; and as of which seq they were made."""

    http: httpx2.AsyncClient
    jobs: dict[str, dict[str, Any]]
    seq: int

    async def listed(self, **query: Any) -> list[str]:
        """Give the names of the jobs on a list."""
        response = await self.http.get("/jobs/", params=query)
        assert response.status_code == 200, response.text
        return self.names_in(response)

    def names_in(self, response: httpx2.Response) -> list[str]:
        names = {job["job_id"]: name for name, job in self.jobs.items()}
        return [names[job["job_id"]] for job in response.json()]


async def made(http: httpx2.AsyncClient) -> list[str]:
    """Make the jobs; gives their ids."""
    urls = [
        "http://m/Ferien%20%C3%9Cbung.mp4",
        *("http://m/Straße.mov", "http://m/c", "http://m/d", "http://m/e", "http://m/f"),
    ]
    ids = [
        await submitted(http, source_url=url, target_codec="h264", max_retries=1) for url in urls
    ]
    await beat(http, "farm-07")
    await assigned(http, "farm-07")
    output = {"output_url": "http://out/holiday.MP4", "engine_id": "farm-07", "attempt": 1}
    assert (await http.post(f"/jobs/{ids[0]}/complete", json=output)).status_code == 200
    await assigned(http, "farm-07")
    failure = {"error_message": "moov atom not found", "engine_id": "farm-07", "attempt": 1}
    assert (await http.post(f"/jobs/{ids[1]}/fail", json=failure)).status_code == 200
    assert (await http.delete(f"/jobs/{ids[2]}")).status_code == 200
    await assigned(http, "farm-07")
    return ids


async def kinds_of(http: httpx2.AsyncClient, ids: list[str]) -> Kinds:
    shown = await http.get("/jobs/")
    by_id = {job["job_id"]: job for job in shown.json()}
    jobs = {name: by_id[job_id] for name, job_id in zip(NAMES, ids, strict=True)}
    return Kinds(http, jobs, int(shown.headers["X-Dispatcher-Seq"]))
