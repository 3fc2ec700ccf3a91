"""Real films of many kinds, split, transcoded part by part, and joined."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from msgspec.structs import replace

from dispatcher.engine.ffmpeg import Ffmpeg, FfmpegError, Input
from dispatcher.engine.joining import JoinError, Made, join
from dispatcher.engine.parts import plan_for, transcode_segment
from dispatcher.engine.planning import NotSplitError
from dispatcher.engine.transcoding import transcode
from dispatcher.recipes import Recipe, recipe_of
from dispatcher.segments import Plan, Segment, plan_of
from tests.support.films import film_in, found, make, ran, times_in
from tests.support.films_of_kinds import KINDS
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio

LOSSLESS: Final = {"split_s": 1, "crf": 0, "speed": "fastest"}
QUICK: Final = {"split_s": 1, "speed": "fastest"}
PICTURES: Final = 80
INEXACT: Final = frozenset({"mpeg2 PS", "mpeg4 avi"})
"""Those of which the packets tell no exact times."""


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("films")


class Film(NamedTuple):
    """A film to split, by one ffmpeg into one codec."""

    ffmpeg: Ffmpeg
    path: Path
    codec: str
    folder: Path
    recipe: Recipe

    @property
    def source(self) -> Input:
        return Input(f"file:{self.path}", ("file",))

    @property
    def plain(self) -> Recipe:
        return replace(self.recipe, split_s=None)

    def suffix(self) -> str:
        return self.ffmpeg.target(self.codec, self.recipe).container.suffix

    async def plan(self) -> Plan:
        plan = await plan_for(self.ffmpeg, self.source, self.codec, self.folder, self.recipe)
        assert plan_of(plan.wire()) == plan, "the dispatcher takes it"
        return plan

    async def made(self, plan: Plan) -> Made:
        segments, rest = list[tuple[Segment, Path]](), None
        for part in plan.parts:
            if isinstance(part, Segment):
                path = self.folder / f"segment-{part.number}.mp4"
                segments.append((part, path))
                await transcode_segment(
                    self.ffmpeg, self.source, self.codec, part, path, recipe=self.plain
                )
            else:
                rest = self.folder / "rest.mkv"
                rest = rest.with_suffix(".mkv" if self.suffix() == ".ts" else self.suffix())
                await transcode(
                    self.ffmpeg, self.source, self.codec, rest, recipe=self.plain, is_rest=True
                )
        return Made(segments, rest)

    async def joined(self, made: Made) -> Path:
        output = self.folder / f"joined{self.suffix()}"
        await join(self.ffmpeg, self.source, self.codec, made, output, recipe=self.plain)
        return output

    async def split_and_joined(self) -> Path:
        return await self.joined(await self.made(await self.plan()))

    async def whole(self) -> Path:
        output = self.folder / f"whole{self.suffix()}"
        await transcode(self.ffmpeg, self.source, self.codec, output, recipe=self.plain)
        return output


def film(
    ffmpeg: Ffmpeg,
    films: Path,
    folder: Path,
    kind: str,
    codec: str = "h264",
    **recipe: object,
) -> Film:
    path = films / f"{kind}{KINDS[kind].suffix}"
    if not path.exists():
        KINDS[kind].made_in(films, kind)
    fields = {**(LOSSLESS if codec == "h264" else QUICK), **recipe}
    return Film(ffmpeg, path, codec, folder, recipe_of(fields, codec))


def pictures_of(path: Path) -> list[str]:
    told = ran(
        *("-v", "error", "-i", path, "-map", "0:V:0", "-fps_mode", "passthrough"),
        *("-pix_fmt", "yuv420p", "-f", "framemd5", "-"),
    )
    lines = told.stdout.decode().splitlines()
    return [it.rpartition(",")[2].strip() for it in lines if not it.startswith("#")]


def sound_of(path: Path) -> tuple[list[float], str]:
    """Return when the first and the last sample are heard after the first picture, and a digest."""
    told = ran(
        *("-v", "error", "-copyts", "-i", path, "-map", "0:a:0", "-map", "0:V:0"),
        *("-c:a", "pcm_s16le", "-c:v", "copy", "-f", "framecrc", "-"),
    )
    lines = [it.split(",") for it in told.stdout.decode().splitlines()]
    bases = {it[0][4]: Fraction(it[0].split()[-1]) for it in lines if it[0].startswith("#tb")}
    packets = [it for it in lines if not it[0].startswith("#")]
    sound, picture = ([it for it in packets if it[0] == n] for n in ("0", "1"))
    assert sound
    begins = min(int(it[2]) for it in picture) * bases["1"]
    times = [float(int(it[2]) * bases["0"] - begins) for it in (sound[0], sound[-1])]
    return times, "".join(it[5] for it in sound)


def assert_close(times: Sequence[float], others: Sequence[float], within_s: float) -> None:
    assert len(times) == len(others)
    assert max(abs(a - b) for a, b in zip(times, others, strict=True)) <= within_s


@pytest.mark.parametrize("kind", [it for it in KINDS if it not in INEXACT])
async def test_a_film_that_is_split_has_every_picture_at_its_time_and_all_its_sound(
    ffmpeg: Ffmpeg, films: Path, tmp_path: Path, kind: str
) -> None:
    it = film(ffmpeg, films, tmp_path, kind)
    try:
        output = await it.split_and_joined()
    except FfmpegError as error:
        assert kind == "h264 intra refresh"
        assert error.cause == "inexact"  # noqa: PT017 - it may do either
        return
    whole = await it.whole()
    assert pictures_of(output) == pictures_of(it.path) == pictures_of(whole)
    assert_close(times_in(output), times_in(whole), 0.000_02)
    if kind != "h264 silent":
        times, samples = sound_of(output)
        assert_close(times, sound_of(whole)[0], 0.001)
        assert samples == sound_of(whole)[1]


@pytest.mark.parametrize("kind", sorted(INEXACT))
async def test_a_film_whose_packets_tell_no_times_is_not_split(
    ffmpeg: Ffmpeg, films: Path, tmp_path: Path, kind: str
) -> None:
    with pytest.raises(NotSplitError):
        await film(ffmpeg, films, tmp_path, kind).plan()


@pytest.mark.parametrize("codec", ["hevc", "vp9", "av1"])
@pytest.mark.parametrize("kind", ["h264 VFR open GOP", "h264 late picture"])
async def test_every_codec_is_joined_exactly(
    ffmpeg: Ffmpeg, films: Path, tmp_path: Path, codec: str, kind: str
) -> None:
    it = film(ffmpeg, films, tmp_path, kind, codec)
    output, whole = await it.split_and_joined(), await it.whole()
    assert len(pictures_of(output)) == len(pictures_of(it.path))
    assert_close(times_in(output), times_in(whole), 0.001)
    assert sound_of(output)[1] == sound_of(whole)[1]
    assert_close(sound_of(output)[0], sound_of(whole)[0], 0.001)


@pytest.mark.parametrize("container", ["mp4", "mkv", "mov", "ts"])
async def test_every_container_keeps_the_times(
    each_ffmpeg: Ffmpeg, films: Path, tmp_path: Path, container: str
) -> None:
    it = film(each_ffmpeg, films, tmp_path, "h264 VFR", container=container)
    output, whole = await it.split_and_joined(), await it.whole()
    assert pictures_of(output) == pictures_of(it.path)
    assert_close(times_in(output), times_in(whole), 0.001)
    assert_close(sound_of(output)[0], sound_of(whole)[0], 0.001)


async def test_what_goes_with_a_film_is_in_the_joined_one_as_in_a_whole_one(
    each_ffmpeg: Ffmpeg, films: Path, tmp_path: Path
) -> None:
    plain = film(each_ffmpeg, films, tmp_path, "h264 mp4")
    texts, chapters = tmp_path / "texts.srt", tmp_path / "chapters.txt"
    texts.write_text("1\n00:00:00,500 --> 00:00:01,500\nhello\n\n")
    chapters.write_text(
        ";FFMETADATA1\ntitle=A film\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1500\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=1500\nEND=3200\ntitle=Two\n"
    )
    rich = make(
        *("-i", plain.path, "-i", texts, "-i", chapters, "-map", "0:v", "-map", "0:a"),
        *("-map", "0:a", "-map", "1", "-map_metadata", "2", "-c", "copy", "-c:s", "srt"),
        *("-metadata:s:v", "title=Picture", "-metadata:s:v", "language=fre"),
        *("-metadata:s:a:0", "language=ger", "-metadata:s:a:1", "language=eng"),
        *("-metadata:s:a:1", "title=Commentary", "-disposition:a:0", "0"),
        *("-disposition:a:1", "default+comment", "-disposition:s:0", "forced"),
        tmp_path / "rich.mkv",
    )
    for container in ("mp4", "mkv"):
        folder = tmp_path / container
        folder.mkdir()
        recipe = replace(plain.recipe, container=container)
        it = plain._replace(path=rich, folder=folder, recipe=recipe)
        joined, whole = found(await it.split_and_joined()), found(await it.whole())
        assert joined.chapters == whole.chapters == 2
        assert joined.tags.get("title") == whole.tags.get("title") == "A film"
        assert len(joined.streams) == len(whole.streams)
        for one, other in zip(joined.streams, whole.streams, strict=True):
            assert (one.kind, one.codec, one.language) == (other.kind, other.codec, other.language)
            assert one.dispositions == other.dispositions
            for name in ("title", "handler_name"):
                assert one.tags.get(name) == other.tags.get(name)


async def test_a_ten_bit_film_stays_one_and_is_made_smaller(
    ffmpeg: Ffmpeg, films: Path, tmp_path: Path
) -> None:
    plain = film(ffmpeg, films, tmp_path, "h264 mp4", "hevc", max_width=80)
    deep = make(
        *("-i", plain.path, "-pix_fmt", "yuv420p10le", "-c:v", "libx265", "-g", "10"),
        *("-x265-params", "log-level=error", "-color_primaries", "bt709", "-c:a", "copy"),
        tmp_path / "deep.mkv",
    )
    it = plain._replace(path=deep)
    one, other = film_in(await it.split_and_joined()), film_in(await it.whole())
    assert (one.pixels, one.width, one.colours) == (other.pixels, 80, other.colours)
    assert (one.tag, one.aspect) == (other.tag, other.aspect)


async def test_a_segment_that_is_not_exact_is_none(
    ffmpeg: Ffmpeg, films: Path, tmp_path: Path
) -> None:
    it = film(ffmpeg, films, tmp_path, "h264 mp4")
    part = (await it.plan()).parts[1]
    assert isinstance(part, Segment)
    for wrong in (replace(part, frames=part.frames + 1), replace(part, times_sha256="0" * 64)):
        work = (ffmpeg, it.source, "h264", wrong, tmp_path / "wrong.mp4")
        with pytest.raises(FfmpegError, match="segment 1 of the film") as failed:
            await transcode_segment(*work, recipe=it.plain)
        assert failed.value.cause == "inexact"


async def test_parts_that_make_no_film_are_not_joined(
    ffmpeg: Ffmpeg, films: Path, tmp_path: Path
) -> None:
    it = film(ffmpeg, films, tmp_path, "h264 mp4")
    made = await it.made(await it.plan())
    (first, one), (second, other), *rest = made.segments
    with pytest.raises(JoinError, match="segment 0 has other pictures"):
        await it.joined(made._replace(segments=[(first, other), (second, one), *rest]))
    small = make("-i", one, "-vf", "scale=48:32", "-fps_mode", "passthrough", tmp_path / "s.mp4")
    with pytest.raises(JoinError, match="several kinds"):
        await it.joined(made._replace(segments=[(first, small), *made.segments[1:]]))


async def test_a_source_that_was_cut_off_is_not_split(
    ffmpeg: Ffmpeg, films: Path, tmp_path: Path
) -> None:
    it = film(ffmpeg, films, tmp_path, "h264 mkv")
    cut = tmp_path / "cut.mkv"
    content = it.path.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    with pytest.raises(FfmpegError) as failed:
        await it._replace(path=cut).plan()
    assert failed.value.cause == "source_bad"
