"""An engine's attempts at a film that is split, at its parts, and at joining them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from dispatcher.client import Client
from dispatcher.engine.attempts import Attempts
from dispatcher.engine.delivery import delivery_to
from dispatcher.engine.ffmpeg import Ffmpeg, FfmpegError
from dispatcher.engine.journal import JournalEntry
from dispatcher.engine.source_errors import SourceAwayError
from dispatcher.segments import ABILITY, MOST_NEEDS, Plan, Segment
from dispatcher.store_urls import StoreUrl
from projections.jobs import JobView
from tests.support.engines import ANYWHERE, files_below
from tests.support.films import times_in
from tests.support.films_of_kinds import KINDS
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.servers import KEY, Running, running
from tests.support.web import Answer, Asked, web

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio

RECIPE = {"split_s": 1, "speed": "fastest"}


@pytest.fixture
async def server(db: Path, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(db, store=tmp_path / "store") as dispatcher:
        yield dispatcher


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return KINDS["h264 mp4"].made_in(tmp_path_factory.mktemp("films"), "film")


class Knowing(Client):
    """A client of a dispatcher that knows these parts."""

    known: dict[str, JobView]

    async def job(self, job_id: str, *, as_of: int | str | None = None) -> JobView:
        del as_of
        return self.known[job_id]


@pytest.fixture
async def client(server: Running) -> AsyncIterator[Knowing]:
    async with Knowing(server.url, KEY) as asking:
        asking.known = {}
        yield asking


@pytest.fixture
def attempts(client: Knowing, ffmpeg: Ffmpeg, tmp_path: Path) -> Attempts:
    sources = ANYWHERE._replace(dispatcher=client)
    return Attempts("engine", ffmpeg, sources, delivery_to(str(tmp_path / "outputs")))


def job_of(url: str, **fields: Any) -> JobView:
    job = JobView("film", url, "h264", 1, "assigned", "engine", None, 0, 3, attempt=1)
    return replace(job, recipe=RECIPE, **fields)


class Asking:
    """A dispatcher that is offered plans."""

    def __init__(self, refuses: str | None = None) -> None:
        self.plans: list[Plan] = []
        self._refuses = refuses

    async def __call__(self, _: JobView, plan: Plan) -> str | None:
        self.plans.append(plan)
        return self._refuses


async def done(
    attempts: Attempts, job: JobView, folder: Path, offer: Asking | None = None
) -> JournalEntry:
    work = folder / f"job-{job.job_id}"
    work.mkdir()
    entry = await attempts.transcoded(job, work, lambda _: None, offer or Asking())
    return entry if entry.stage == "split" else await attempts.delivered(entry)


async def parts_of(
    attempts: Attempts, client: Knowing, job: JobView, folder: Path
) -> tuple[str, ...]:
    """Have a film split, and all its parts made."""
    offer = Asking()
    entry = await done(attempts, replace(job, job_id="planned"), folder, offer)
    assert entry.stage == "split"
    [plan] = offer.plans
    for number, part in enumerate(plan.wire()["parts"]):
        plain = {name: it for name, it in RECIPE.items() if name != "split_s"}
        one = replace(job, job_id=f"part-{number}", part=part, parent="film", recipe=plain)
        made = await done(attempts, one, folder)
        assert made.stage == "delivered"
        client.known[one.job_id] = replace(one, status="completed", output_url=made.result)
    return tuple(client.known)


async def test_a_film_becomes_parts_in_the_store_and_one_output(
    attempts: Attempts, client: Knowing, film: Path, tmp_path: Path
) -> None:
    job = job_of(film.as_uri())
    parts = await parts_of(attempts, client, job, tmp_path)
    assert len(parts) == 4
    assert all(StoreUrl.parse(it.output_url or "") for it in client.known.values())
    assert files_below(tmp_path / "outputs") == []
    entry = await done(attempts, replace(job, parts=parts), tmp_path)
    assert entry.stage == "delivered"
    assert entry.outcome is not None
    assert [it.split(" from ")[0] for it in entry.outcome.warnings] == ["joined"]
    assert entry.outcome.output is not None
    assert entry.outcome.output.sha256 is not None
    [output] = files_below(tmp_path / "outputs")
    assert len(times_in(tmp_path / "outputs" / output)) == len(times_in(film))


async def test_a_film_of_the_store_is_read_by_ranges_for_its_segments(
    attempts: Attempts, client: Knowing, film: Path, tmp_path: Path
) -> None:
    job = job_of(await client.upload(film))
    parts = await parts_of(attempts, client, job, tmp_path)
    entry = await done(attempts, replace(job, parts=parts), tmp_path)
    assert entry.stage == "delivered"
    assert entry.outcome is not None
    assert [it.split(" from ")[0] for it in entry.outcome.warnings] == ["joined"]
    assert not [it for it in files_below(tmp_path) if it.startswith("job-part-0/source")]
    assert not [it for it in files_below(tmp_path) if it.startswith("job-film/source")]


async def test_a_film_of_the_web_is_read_by_ranges_for_its_segments(
    attempts: Attempts, client: Knowing, film: Path, tmp_path: Path
) -> None:
    content = film.read_bytes()

    async def answer(asked: Asked) -> Answer:
        told = asked.headers.get("range")
        if told is None:
            return Answer(body=content, headers={"Accept-Ranges": "bytes"})
        first, _, last = told.removeprefix("bytes=").partition("-")
        end = min(int(last) + 1 if last else len(content), len(content))
        place = f"bytes {first}-{end - 1}/{len(content)}"
        return Answer(206, content[int(first) : end], {"Content-Range": place})

    async with web(answer) as origin:
        job = job_of(f"{origin.url}/film.mp4")
        parts = await parts_of(attempts, client, job, tmp_path)
        entry = await done(attempts, replace(job, parts=parts), tmp_path)
    assert entry.outcome is not None
    assert [it.split(" from ")[0] for it in entry.outcome.warnings] == ["joined"]
    assert not [it for it in files_below(tmp_path) if it.startswith("job-part-0/source")]


async def test_a_server_that_gives_no_parts_has_its_film_encoded_whole(
    attempts: Attempts, film: Path, tmp_path: Path
) -> None:
    async def answer(_: Asked) -> Answer:
        return Answer(body=film.read_bytes())

    async with web(answer) as origin:
        entry = await done(attempts, job_of(f"{origin.url}/film.mp4"), tmp_path)
    assert entry.stage == "delivered"
    assert entry.outcome is not None
    assert entry.outcome.warnings[0] == (
        "encoded whole: the server of its source gives out no parts"
    )


@pytest.mark.parametrize(
    ("kind", "why"),
    [("mpeg4 avi", "pictures without a time"), ("h264 mp4", "no key frame where a second")],
)
async def test_a_film_that_can_not_be_split_is_encoded_whole_and_says_so(
    attempts: Attempts, tmp_path: Path, kind: str, why: str
) -> None:
    offer, path = Asking(), KINDS[kind].made_in(tmp_path, "film")
    job = replace(
        job_of(path.as_uri()), recipe={**RECIPE, "split_s": 100 if why.startswith("no") else 1}
    )
    entry = await done(attempts, job, tmp_path, offer)
    assert entry.stage == "delivered"
    assert entry.outcome is not None
    assert entry.outcome.warnings[0].startswith(f"encoded whole: it has {why}")
    assert offer.plans == []


async def test_a_dispatcher_that_refuses_a_plan_gets_the_whole_film(
    attempts: Attempts, film: Path, tmp_path: Path
) -> None:
    entry = await done(attempts, job_of(film.as_uri()), tmp_path, Asking("it has no store"))
    assert entry.stage == "delivered"
    assert entry.outcome is not None
    assert "encoded whole: it has no store" in entry.outcome.warnings


async def test_a_film_that_was_to_be_whole_is_not_offered_again(
    attempts: Attempts, film: Path, tmp_path: Path
) -> None:
    offer = Asking()
    job = job_of(film.as_uri(), parts=("gone",), whole="a segment of it was not exact")
    entry = await done(attempts, job, tmp_path, offer)
    assert entry.outcome is not None
    assert "encoded whole: a segment of it was not exact" in entry.outcome.warnings
    assert offer.plans == []


async def test_a_film_whose_part_is_gone_is_encoded_whole(
    attempts: Attempts, client: Knowing, film: Path, tmp_path: Path
) -> None:
    job = job_of(film.as_uri())
    parts = await parts_of(attempts, client, job, tmp_path)
    lost = client.known[parts[1]]
    client.known[parts[1]] = replace(lost, output_url=str(StoreUrl("0" * 64, "lost.mp4")))
    entry = await done(attempts, replace(job, parts=parts), tmp_path)
    assert entry.stage == "delivered"
    assert entry.outcome is not None
    assert "part-1 is gone" in entry.outcome.warnings[0]


async def test_a_film_whose_parts_belong_together_in_no_way_is_encoded_whole(
    attempts: Attempts, client: Knowing, film: Path, tmp_path: Path
) -> None:
    job = job_of(film.as_uri())
    parts = await parts_of(attempts, client, job, tmp_path)
    one, other = (client.known[it] for it in parts[:2])
    client.known[parts[0]] = replace(one, output_url=other.output_url)
    entry = await done(attempts, replace(job, parts=parts), tmp_path)
    assert entry.outcome is not None
    assert entry.outcome.warnings[0].startswith("encoded whole: segment 0 has other pictures")


async def test_a_part_whose_source_is_away_fails_for_that(
    attempts: Attempts, client: Knowing, film: Path, tmp_path: Path
) -> None:
    await parts_of(attempts, client, job_of(film.as_uri()), tmp_path)
    gone = replace(client.known["part-0"], job_id="again", source_url=f"{film.as_uri()}.gone")
    with pytest.raises(SourceAwayError):
        await done(attempts, gone, tmp_path)


async def test_a_part_of_another_version_is_for_another_engine(
    attempts: Attempts, film: Path, tmp_path: Path
) -> None:
    with pytest.raises(FfmpegError, match="does not know such a part") as failed:
        await done(attempts, job_of(film.as_uri(), part={"kind": "half"}), tmp_path)
    assert failed.value.cause == "engine"


async def test_an_engine_tells_its_build_only_with_a_dispatcher(
    attempts: Attempts, ffmpeg: Ffmpeg
) -> None:
    [build] = [it for it in attempts.abilities if it.startswith("build:")]
    assert len(build) == len("build:") + 12
    assert ABILITY in attempts.abilities
    assert len(ffmpeg.alike) <= MOST_NEEDS
    alone = attempts._replace(sources=ANYWHERE)
    assert not {ABILITY, build} & {*alone.abilities}


async def test_other_encoders_are_another_build(ffmpeg: Ffmpeg) -> None:
    fewer = dict(list(ffmpeg.encoders.items())[:2])
    assert ffmpeg._replace(encoders=fewer).alike != ffmpeg.alike
    assert ffmpeg._replace(build="another").alike != ffmpeg.alike


async def test_a_plan_says_what_engines_need(ffmpeg: Ffmpeg) -> None:
    segment = Segment(0, 0, 1, 1, "1/25", "0" * 64)
    assert Plan((segment,), ffmpeg.alike).wire()["needs"] == [*ffmpeg.alike]
    assert JobView("a", "b", "c", 1, "d", None, None, 0, 3).parts is UNSET
