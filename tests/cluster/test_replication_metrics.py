"""What one of several dispatchers tells of its replication in `GET /metrics`."""

import re
from pathlib import Path
from typing import Final

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.dispatchers import children, following, leading, members, until
from tests.support.in_flight import TESTER, seqs, submit
from tests.support.nats import Nats
from tests.support.servers import client_of

pytestmark = pytest.mark.anyio

MANUAL: Final = Path(__file__).parents[2] / "docs" / "monitoring.md"
JOB: Final = {"source_url": "http://media/in.mp4", "target_codec": "h264"}


async def told_by(http: httpx2.AsyncClient) -> dict[str, float]:
    """Return what is told of replication, by the names without their common beginning."""
    answer = await http.get("/metrics")
    return {
        sample.name.removeprefix("dispatcher_replication_"): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name.startswith("dispatcher_replication_")
    }


async def test_it_tells_who_leads_and_what_was_stored_and_forwarded(
    nats: Nats, tmp_path: Path
) -> None:
    async with (
        children(nats.address(), tmp_path, 2) as both,
        client_of(both[0]) as one,
        client_of(both[1]) as other,
    ):
        for http in (one, other, one, other):
            assert (await http.post("/jobs/", json=JOB)).status_code == 200
        told = [await told_by(http) for http in (one, other)]
    follower, leader = sorted(told, key=lambda it: it["leading"])
    assert [follower["leading"], leader["leading"]] == [0, 1]
    assert follower["term"] == leader["term"] >= 1
    assert follower["messages_stored_total"] == 0
    assert leader["messages_stored_total"] >= 5  # a claim, and the jobs one by one
    assert follower["commands_forwarded_total"] >= 2
    assert leader["commands_forwarded_total"] <= 2  # before it led
    assert leader["lag_messages"] == 0
    manual = re.findall(r"^\| `dispatcher_replication_(\w+)`", MANUAL.read_text(), re.MULTILINE)
    assert set(told[0]) == set(manual)


async def test_it_tells_how_far_it_is_behind(nats: Nats, tmp_path: Path) -> None:
    async with members(nats.address(), tmp_path) as pair:
        (follower,), leader = following(pair), leading(pair)
        async with follower._cluster._turn:  # it reads nothing meanwhile
            for number in range(3):
                await leader.execute(submit(f"job-{number}"), TESTER, seqs)
            await until(lambda: follower.replication.lag >= 3)
        await until(lambda: follower.replication.lag == 0)
        assert follower.projections.seq == 3
