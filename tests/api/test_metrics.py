"""`GET /metrics`: what it counts, who may read it, and what Prometheus makes of it."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dispatcher.serving.keys import ApiKeys, Key, Role
from tests.support.farm import assigned, beat, eventually, submitted
from tests.support.servers import KEY, Running, running

pytestmark = pytest.mark.anyio

DOCS: Final = Path(__file__).parents[2] / "docs"
MISSING: Final = "is not on PATH; run scripts/setup as root, or: apt-get install prometheus"
Sample = tuple[str, frozenset[tuple[str, str]]]


async def scraped(client: httpx2.AsyncClient) -> dict[Sample, float]:
    """Return all samples of a scrape by their name and labels."""
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def at(name: str, **labels: str) -> Sample:
    return name, frozenset(labels.items())


async def test_it_counts_what_happened(client: httpx2.AsyncClient) -> None:
    done, failed = [await submitted(client, target_codec="av1", max_retries=0) for _ in "ab"]
    await submitted(client, target_codec="h264")
    await beat(client, "e", supported_codecs=["av1"])
    await assigned(client, "e")
    body = {"output_url": "o", "engine_id": "e", "attempt": 1}
    assert (await client.post(f"/jobs/{done}/complete", json=body)).status_code == 200
    await assigned(client, "e")
    body = {"error_message": "broken", "engine_id": "e", "attempt": 1}
    assert (await client.post(f"/jobs/{failed}/fail", json=body)).status_code == 200
    told = await scraped(client)
    for sample, value in {
        at("dispatcher_jobs", status="completed", codec="av1"): 1,
        at("dispatcher_jobs", status="failed_permanently", codec="av1"): 1,
        at("dispatcher_jobs", status="pending", codec="h264"): 1,
        at("dispatcher_jobs_submitted_total"): 3,
        at("dispatcher_engines", state="idle"): 1,
        at("dispatcher_jobs_assigned_total"): 2,
        at("dispatcher_attempts_total", end="completed"): 1,
        at("dispatcher_attempts_total", end="reported"): 1,
        at("dispatcher_first_wait_seconds_count"): 2,
        at("dispatcher_log_writable"): 1,
        at("dispatcher_http_requests_total", method="POST", route="/jobs", status="200"): 3,
    }.items():
        assert told[sample] == value, sample
    head = (await client.get("/health")).json()["seq"]
    assert told[at("dispatcher_log_events_total")] == head
    assert told[at("dispatcher_append_events_sum")] == head
    assert told[at("process_resident_memory_bytes")] > 0
    assert told[at("dispatcher_queue_oldest_seconds")] > 0


async def test_requests_are_counted_by_route_and_by_nothing_that_is_asked_for(
    client: httpx2.AsyncClient, server: Running
) -> None:
    async with httpx2.AsyncClient(base_url=server.url) as stranger:
        for number, method in enumerate(("PROPFIND", "MKCOL", "LOCK")):
            await client.get(f"/jobs/nothing-{number}")
            await client.get(f"/no/such/{number}")
            await client.request(method, "/jobs")
            await stranger.get(f"/hidden/{number}")
            await stranger.request(method, "/jobs")
    told = await scraped(client)
    requests = {dict(labels)["route"] for name, labels in told if name.endswith("requests_total")}
    assert requests == {"/jobs/{job_id}", "other", "unauthorized"}
    assert (
        told[
            at("dispatcher_http_requests_total", method="GET", route="/jobs/{job_id}", status="404")
        ]
        == 3
    )
    methods = {dict(labels)["method"] for name, labels in told if name.endswith("requests_total")}
    assert methods <= {"GET", "POST", "other"}
    assert (
        told[
            at("dispatcher_http_requests_total", method="other", route="unauthorized", status="401")
        ]
        == 6
    )


async def test_every_metric_is_in_the_manual(client: httpx2.AsyncClient) -> None:
    await client.get("/jobs")
    families = text_string_to_metric_families((await client.get("/metrics")).text)
    told = {
        f"{it.name}_total" if it.type == "counter" else it.name
        for it in families
        if it.name.startswith("dispatcher_")
    }
    manual = set(
        re.findall(r"^\| `(dispatcher_\w+)`", (DOCS / "monitoring.md").read_text(), re.MULTILINE)
    )
    of_several = {it for it in manual if it.startswith("dispatcher_replication_")}
    assert told == manual - of_several  # see tests/cluster/test_replication_metrics.py


async def test_the_dashboard_and_the_alerts_ask_for_metrics_that_there_are() -> None:
    known = set(re.findall(r"`(dispatcher_\w+)`", (DOCS / "monitoring.md").read_text()))
    texts = [(DOCS / "monitoring" / it).read_text() for it in ("dashboard.json", "alerts.yml")]
    asked = {name for text in texts for name in re.findall(r"dispatcher_[a-z_]+", text)}
    assert {re.sub("_bucket$", "", name) for name in asked} <= known
    panels = json.loads(texts[0])["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 10


def program(name: str) -> str:
    if (found := shutil.which(name)) is None:
        pytest.skip(f"{name} {MISSING}")
    return found


async def test_promtool_finds_nothing_to_say_of_the_metrics(client: httpx2.AsyncClient) -> None:
    await submitted(client)
    text = (await client.get("/metrics")).text
    checked = await asyncio.to_thread(
        subprocess.run,
        [program("promtool"), "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    ours = [line for line in checked.stderr.splitlines() if line.startswith("dispatcher_")]
    assert (checked.returncode, ours) == (0, [])


def test_the_rules_of_the_alerts_pass_their_tests() -> None:
    checked = subprocess.run(
        [program("promtool"), "test", "rules", "alerts.test.yml"],
        cwd=DOCS / "monitoring",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.fixture
async def prometheus(db: Path, tmp_path: Path, free_tcp_port: int) -> AsyncIterator[str]:
    """A real Prometheus that scrapes a dispatcher with a key of a monitor."""
    keys = ApiKeys(
        [Key.of("olga", Role.OPERATOR, KEY), Key.of("mona", Role.MONITOR, "the key of mona")]
    )
    found = program("prometheus")
    async with running(db, keys=keys) as server:
        (tmp_path / "mona.key").write_text("the key of mona\n")
        settings = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [
                {
                    "job_name": "dispatcher",
                    "authorization": {"credentials_file": str(tmp_path / "mona.key")},
                    "static_configs": [{"targets": [server.url.removeprefix("http://")]}],
                }
            ],
        }
        (tmp_path / "prometheus.yml").write_text(json.dumps(settings))  # JSON is YAML
        process = await asyncio.create_subprocess_exec(
            *(found, f"--config.file={tmp_path / 'prometheus.yml'}"),
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{free_tcp_port}",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            yield f"http://127.0.0.1:{free_tcp_port}"
        finally:
            process.terminate()
            await process.wait()


async def test_a_real_prometheus_scrapes_it(prometheus: str) -> None:
    async with httpx2.AsyncClient(base_url=prometheus) as client:

        async def found() -> list[Any] | None:
            asked = {"query": "dispatcher_log_writable"}
            try:
                answer = await client.get("/api/v1/query", params=asked)
            except httpx2.HTTPError:  # it has not begun to listen
                return None
            samples: list[Any] = answer.json()["data"]["result"] if answer.is_success else []
            return samples or None

        (sample,) = await eventually(found)
    assert sample["value"][1] == "1"
    assert sample["metric"]["job"] == "dispatcher"
