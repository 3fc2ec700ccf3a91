"""A recipe is followed: real films of every kind, with each ffmpeg that is here."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from dispatcher.engine.ffmpeg import Ffmpeg, FfmpegError, Input
from dispatcher.engine.raw_arguments import raw_of
from dispatcher.engine.sources import FILE_PROTOCOLS
from dispatcher.engine.streams import channels_of
from dispatcher.engine.transcoding import transcode
from dispatcher.recipes import RATES, recipe_of
from dispatcher.results import Result
from tests.support.films import film_in, found, make, ran, times_in
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio

CARD: Final = ("-f", "lavfi", "-i", "testsrc2=s=64x64:r=25:d=0.4")
TONE: Final = ("-f", "lavfi", "-i", "sine=d=0.4")
CHAPTERS: Final = """;FFMETADATA1
[CHAPTER]
TIMEBASE=1/1000
START=0
END=3000
title=One
[CHAPTER]
TIMEBASE=1/1000
START=3000
END=6000
title=Two
[CHAPTER]
TIMEBASE=1/1000
START=6000
END=10000
title=Three
"""
SUBTITLES: Final = """1
00:00:00,500 --> 00:00:01,000
Early

2
00:00:04,200 --> 00:00:05,700
Spanning

3
00:00:06,000 --> 00:00:06,500
Inside

4
00:00:08,000 --> 00:00:09,000
Late

"""


def grey(path: Path, at: int = 0) -> list[int]:
    """Return how light each frame is; `at` chooses a point of the first row."""
    chain = f"format=gray,crop=1:1:{at}:0"
    return [
        *ran("-i", path, "-vf", chain, "-fps_mode", "passthrough", "-f", "rawvideo", "-").stdout
    ]


async def followed(ffmpeg: Ffmpeg, source: Path, codec: str, **recipe: Any) -> tuple[Path, Result]:
    if codec not in ffmpeg.encoders:
        pytest.skip(f"this ffmpeg does not encode {codec}")
    wanted = recipe_of(recipe, codec)
    output = source.parent / f"output{ffmpeg.target(codec, wanted).container.suffix}"
    result = await transcode(
        ffmpeg, Input(f"file:{source}", FILE_PROTOCOLS), codec, output, recipe=wanted
    )
    return output, result


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short picture and tone."""
    path = tmp_path_factory.mktemp("card") / "source.mkv"
    return make(*CARD, *TONE, "-c:v", "mpeg4", "-q:v", "1", "-c:a", "flac", path)


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds, each frame a shade of its own, with a key frame every four seconds.

    The tone is loud from the fifth second on.
    """
    folder = tmp_path_factory.mktemp("clock")
    (folder / "subtitles.srt").write_text(SUBTITLES)
    (folder / "chapters.txt").write_text(CHAPTERS)
    shades = "color=black:s=64x64:r=25:d=10,format=gray,geq=lum=mod(N\\,250),format=yuv420p"
    tone = "sine=d=10,volume='gte(t,5)':eval=frame"
    return make(
        *("-f", "lavfi", "-i", shades, "-f", "lavfi", "-i", tone),
        *("-i", folder / "subtitles.srt", "-i", folder / "chapters.txt"),
        *("-map", "0", "-map", "1", "-map", "2", "-map_metadata", "3"),
        *("-c:v", "libx264", "-qp", "1", "-g", "100", "-keyint_min", "100", "-sc_threshold", "0"),
        *("-color_range", "pc", "-c:a", "aac", "-c:s", "srt", folder / "clock.mkv"),
    )


# Containers


@pytest.mark.parametrize(
    ("codec", "container", "sound"),
    [
        *[("h264", "mkv", "aac"), ("h264", "mov", "aac"), ("h264", "ts", "aac")],
        *[("hevc", "mkv", "aac"), ("hevc", "ts", "aac"), ("hevc", "mov", "aac")],
        *[("vp9", "mp4", "opus"), ("vp9", "mkv", "opus"), ("av1", "mp4", "opus")],
        *[("vp8", "mkv", "vorbis"), ("mpeg2", "mp4", "ac3"), ("mpeg2", "mkv", "mp2")],
        *[("mpeg4", "ts", "aac"), ("theora", "mkv", "vorbis"), ("prores", "mkv", "pcm_s24le")],
    ],
)
async def test_a_film_is_in_the_container_that_was_asked_for(
    codec: str, container: str, sound: str, each_ffmpeg: Ffmpeg, card: Path
) -> None:
    output, result = await followed(each_ffmpeg, card, codec, container=container)
    assert output.suffix == f".{container}"
    assert [it.codec for it in found(output).of_kind("audio")] == [sound]
    assert len(times_in(output)) == 10
    assert result.warnings == ()


async def test_transparency_is_not_put_where_it_has_no_place(
    each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    clear = "testsrc2=s=64x64:r=25:d=0.4,format=yuva420p,colorchannelmixer=aa=0.5,format=yuva420p"
    source = make("-f", "lavfi", "-i", clear, "-c:v", "ffv1", tmp_path / "source.mkv")
    _, result = await followed(each_ffmpeg, source, "vp9", container="mp4")
    assert result.warnings == ("8-bit 4:2:0 with alpha became 8-bit 4:2:0",)


# Rate and speed


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg2", "theora"])
async def test_a_lower_quality_takes_fewer_bytes(
    codec: str, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    noisy = "testsrc2=s=160x96:r=25:d=0.4,noise=alls=20:allf=t"
    source = make("-f", "lavfi", "-i", noisy, "-c:v", "ffv1", tmp_path / "source.mkv")
    sizes = []
    for quality in (95, 80, 30):
        output, _ = await followed(each_ffmpeg, source, codec, quality=quality)
        sizes.append(output.stat().st_size)
    assert sizes[0] > sizes[1] >= sizes[2]
    assert sizes[0] > sizes[2]


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp8", "vp9", "av1"])
async def test_a_crf_is_the_encoders_own_and_is_told(
    codec: str, each_ffmpeg: Ffmpeg, card: Path
) -> None:
    _, result = await followed(each_ffmpeg, card, codec, crf=37)
    assert result.crf == 37


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg2", "theora"])
async def test_a_bit_rate_is_about_what_was_asked_for(
    codec: str, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    noisy = "testsrc2=s=320x240:r=25:d=3,noise=alls=5:allf=t"
    source = make("-f", "lavfi", "-i", noisy, "-c:v", "mpeg4", "-q:v", "2", tmp_path / "source.mkv")
    sizes = []
    for rate in ("300k", "1.2M"):
        output, result = await followed(each_ffmpeg, source, codec, bitrate=rate, speed="fastest")
        sizes.append(output.stat().st_size)
        assert result.crf is None
    assert sizes[1] < 1_200_000 / 8 * 3 * 1.7
    assert sizes[1] > 1.3 * sizes[0]


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg2", "theora"])
async def test_the_highest_bit_rate_is_taken(
    codec: str, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    source = make("-f", "lavfi", "-i", "testsrc2=s=64x64:r=25:d=0.2", tmp_path / "source.mkv")
    output, _ = await followed(each_ffmpeg, source, codec, bitrate=RATES[codec].most_bits)
    assert times_in(output)


@pytest.mark.parametrize("speed", ["fastest", "fast", "medium", "slow", "slowest"])
@pytest.mark.parametrize("codec", ["h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg2"])
async def test_every_encoder_takes_every_speed(
    codec: str, speed: str, each_ffmpeg: Ffmpeg, card: Path
) -> None:
    output, result = await followed(each_ffmpeg, card, codec, speed=speed)
    assert len(times_in(output)) == 10
    assert result.warnings == ()


# Size


@pytest.mark.parametrize(
    ("size", "sar", "bounds", "becomes"),
    [
        ("320x180", "1", {"max_height": 90}, (160, 90)),
        ("320x180", "1", {"max_width": 100}, (100, 56)),
        ("320x180", "1", {"max_width": 100, "max_height": 20}, (36, 20)),
        ("320x180", "1", {"max_height": 91}, (160, 90)),
        ("320x181", "1", {"max_height": 181}, (318, 180)),
        ("320x181", "1", {"max_height": 182}, (320, 182)),
        ("320x180", "1", {"max_height": 1080}, (320, 180)),
        ("180x144", "64/45", {"max_width": 128}, (90, 72)),
        ("180x144", "64/45", {"max_width": 256}, (180, 144)),
        ("180x144", "16/15", {"max_width": 192}, (180, 144)),
        ("321x180", "1", {"max_width": 321}, (320, 180)),
    ],
)
async def test_a_film_is_made_smaller_with_its_shape_and_never_larger(
    size: str,
    sar: str,
    bounds: dict[str, int],
    becomes: tuple[int, int],
    each_ffmpeg: Ffmpeg,
    tmp_path: Path,
) -> None:
    source = make("-f", "lavfi", "-i", f"testsrc=s={size}:r=25:d=0.2,setsar={sar}", "-c:v", "ffv1",
                  tmp_path / "source.mkv")  # fmt: skip
    output, _ = await followed(each_ffmpeg, source, "h264", **bounds)
    film = film_in(output)
    assert (film.width, film.height) == becomes
    wide, high = film.aspect
    assert f"{wide}/{high}".removesuffix("/1") == sar


async def test_of_a_turned_film_the_turned_picture_counts(
    each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    flat = make("-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=0.2", "-c:v", "mpeg4",
                tmp_path / "flat.mp4")  # fmt: skip
    source = make("-display_rotation", "90", "-i", flat, "-c", "copy", tmp_path / "source.mp4")
    output, _ = await followed(each_ffmpeg, source, "h264", max_height=160)
    assert (film_in(output).width, film_in(output).height) == (90, 160)


@pytest.mark.parametrize("bounds", [{"max_width": 321}, {"max_height": 181}])
async def test_an_odd_film_that_is_within_its_bounds_is_left_as_it_is(
    bounds: dict[str, int], each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    source = make("-f", "lavfi", "-i", "testsrc=s=321x181:r=25:d=0.2", "-c:v", "ffv1",
                  tmp_path / "source.mkv")  # fmt: skip
    output, result = await followed(each_ffmpeg, source, "vp9", **bounds)
    film = film_in(output)
    assert (film.width, film.height) == (321, 181)
    assert not any("scaled" in it for it in result.warnings)


async def test_a_film_that_becomes_small_is_encoded_by_what_takes_small_ones(
    each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    source = make("-f", "lavfi", "-i", "testsrc=s=320x180:r=25:d=0.2", tmp_path / "source.mkv")
    output, result = await followed(each_ffmpeg, source, "av1", max_height=48)
    assert film_in(output).height == 48
    assert result.encoder == "libaom-av1"


# Frames


@pytest.mark.parametrize(
    ("fps", "frames", "told"), [(29.97, 60, 29.97), ("24000/1001", 48, 23.98), (10, 20, 10)]
)
@pytest.mark.parametrize("codec", ["h264", "vp9", "mpeg2"])
async def test_all_frames_are_equally_long_at_the_rate_that_was_asked_for(
    codec: str, fps: Any, frames: int, told: float, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    lengths = "testsrc2=s=64x64:r=30:d=2,select='if(lt(t,1),1,not(mod(n,3)))'"
    source = make("-f", "lavfi", "-i", lengths, "-fps_mode", "vfr", "-enc_time_base", "1:90000",
                  "-c:v", "libx264", tmp_path / "source.mp4")  # fmt: skip
    output, _ = await followed(each_ffmpeg, source, codec, fps=fps)
    times = times_in(output)
    # ffmpeg 5.1 shows the last frame of the source only once, and it lasts for three.
    assert -3 <= len(times) - frames <= 1
    assert abs(film_in(output).base_fps - told) < 0.01
    steps = [after - before for before, after in pairwise(times)]
    assert max(steps) - min(steps) < 0.0021  # WebM has milliseconds


# Clips


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts", ".avi"])
@pytest.mark.parametrize("codec", ["h264", "vp9", "mpeg2"])
async def test_a_clip_has_just_its_frames_and_its_sound(
    suffix: str, codec: str, each_ffmpeg: Ffmpeg, clock: Path, tmp_path: Path
) -> None:
    startcodes = ("-bsf:v", "h264_mp4toannexb") if suffix == ".avi" else ()
    source = make("-i", clock, "-map", "0:v", "-map", "0:a", "-c", "copy", *startcodes,
                  tmp_path / f"source{suffix}")  # fmt: skip
    output, result = await followed(
        each_ffmpeg, source, codec, clip={"from": 4.6, "to": 6.2}, container="mkv", quality=97
    )
    shades = grey(output)
    # In a transport stream the sound begins a little before the picture, and with it the source.
    begins_early = suffix == ".ts" and codec == "mpeg2"
    assert len(shades) == 40 + begins_early
    wanted = [*([115] if begins_early else []), *range(115, 155)]
    assert max(abs(a - b) for a, b in zip(shades, wanted, strict=True)) <= 6, shades
    sound = ran("-i", output, "-map", "0:a", "-ac", "1", "-ar", "1000", "-f", "s8", "-").stdout
    loud = [n for n, value in enumerate(sound) if 10 < value < 246]
    begins = round(1_000 * times_in(output)[0])
    assert abs(loud[0] - begins - 400) < 50
    assert abs(len(sound) - begins - 1_600) < 60
    assert not [it for it in result.warnings if "clip" in it]


async def test_the_chapters_of_a_clip_are_moved(each_ffmpeg: Ffmpeg, clock: Path) -> None:
    output, _ = await followed(
        each_ffmpeg, clock, "h264", clip={"from": 5, "to": 7}, container="mkv"
    )
    report = ran("-i", output).stderr.decode()
    assert re.findall(r"Chapter #0:\d: start ([\d.]+), end ([\d.]+)", report) in (
        [("0.000000", "1.000000"), ("1.000000", "2.000000")],
        [("0.000000", "1.023000"), ("1.023000", "2.000000")],
    )


@pytest.mark.parametrize(
    ("codec", "container"), [("h264", "mp4"), ("vp9", "webm"), ("h264", "mov"), ("h264", "mkv")]
)
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
async def test_the_subtitles_of_a_clip_are_shown_with_its_pictures(
    suffix: str,
    codec: str,
    container: str,
    each_ffmpeg: Ffmpeg,
    clock: Path,
    tmp_path: Path,
) -> None:
    how = "mov_text" if suffix == ".mp4" else "copy"
    source = make("-i", clock, "-map", "0", "-c", "copy", "-c:s", how, "-metadata:s:s:0",
                  "language=ger", tmp_path / f"source{suffix}")  # fmt: skip
    output, result = await followed(
        each_ffmpeg, source, codec, clip={"from": 5, "to": 7}, container=container
    )
    assert [it for it in result.left_out if it.startswith("subtitle")] == []
    assert languages(output, "subtitle") == ["ger"]
    begins = times_in(output)[0]
    shown = ran("-i", output, "-map", "0:s", "-f", "srt", "-").stdout.decode()
    times = [
        int(minutes) * 60 + float(f"{seconds}.{parts}") - begins
        for minutes, seconds, parts in re.findall(r"00:(\d\d):(\d\d),(\d\d\d)", shown)
    ]
    wanted = [0, 0.7, 1.0, 1.5]
    assert len(times) == len(wanted), shown
    assert max(abs(a - b) for a, b in zip(times, wanted, strict=True)) < 0.05, shown


@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".mkv"])
async def test_what_is_missing_outside_a_clip_is_no_failure_and_inside_it_is(
    suffix: str, each_ffmpeg: Ffmpeg, clock: Path, tmp_path: Path
) -> None:
    whole = make("-i", clock, "-map", "0:v", "-map", "0:a", "-c", "copy", "-movflags", "+faststart",
                 tmp_path / f"whole{suffix}") if suffix != ".ts" else make(
                     "-i", clock, "-map", "0:v", "-map", "0:a", "-c", "copy",
                     tmp_path / f"whole{suffix}")  # fmt: skip
    source = tmp_path / f"source{suffix}"
    content = whole.read_bytes()
    source.write_bytes(content[: int(len(content) * 0.7) // 188 * 188 + 90])
    output, _ = await followed(each_ffmpeg, source, "h264", clip={"from": 1, "to": 3})
    assert len(times_in(output)) == 50
    with pytest.raises(FfmpegError) as told:
        await followed(each_ffmpeg, source, "h264", clip={"from": 1, "to": 9.5})
    assert told.value.cause == "source_bad"


async def test_a_clip_that_begins_after_the_source_fails(each_ffmpeg: Ffmpeg, card: Path) -> None:
    with pytest.raises(FfmpegError, match="clip begins at 5 s") as told:
        await followed(each_ffmpeg, card, "h264", clip={"from": 5})
    assert told.value.cause == "source_bad"


async def test_a_clip_that_goes_beyond_the_source_ends_with_it(
    each_ffmpeg: Ffmpeg, card: Path
) -> None:
    output, result = await followed(each_ffmpeg, card, "h264", clip={"from": 0.2, "to": 60})
    assert len(times_in(output)) == 5
    assert any(it.startswith("the clip ends with the source") for it in result.warnings)


@pytest.fixture(scope="module")
def long_tone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of a film, with six of sound."""
    path = tmp_path_factory.mktemp("long_tone") / "source.mkv"
    film = ("-f", "lavfi", "-i", "testsrc2=s=64x64:r=25:d=4")
    return make(*film, "-f", "lavfi", "-i", "sine=d=6", "-c:v", "mpeg4", "-c:a", "flac", path)


@pytest.mark.parametrize("codec", ["h264", "vp9", "mpeg4"])
@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ({"clip": {"from": 3.97, "to": 3.99}}, "the recipe's clip from 3.97 s to 3.99 s has no"),
        ({"clip": {"from": 3.97}}, "the recipe's clip from 3.97 s on has no picture"),
        ({"clip": {"from": 5, "to": 5.5}}, "the recipe's clip from 5 s to 5.5 s has no picture"),
        ({"clip": {"from": 1.001, "to": 1.01}}, "the recipe's clip from 1.001 s to 1.01 s has no"),
        ({"fps": 0.1}, "'fps' of the recipe, 0.1, leaves no picture"),
    ],
    ids=["at the end", "up to the end", "beyond the film", "between two frames", "a slow rate"],
)
async def test_a_recipe_that_leaves_no_picture_fails_and_says_so(
    recipe: dict[str, Any], says: str, codec: str, each_ffmpeg: Ffmpeg, long_tone: Path
) -> None:
    with pytest.raises(FfmpegError, match=says) as told:
        await followed(each_ffmpeg, long_tone, codec, **recipe)
    assert told.value.cause == "source_bad"


async def test_a_clip_without_a_picture_that_is_to_be_scored_fails_and_says_so(
    ffmpeg: Ffmpeg, long_tone: Path
) -> None:
    with pytest.raises(FfmpegError, match="has no picture") as told:
        await followed(ffmpeg, long_tone, "h264", clip={"from": 3.97, "to": 5}, vmaf=90)
    assert told.value.cause == "source_bad"


# Sound


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film with sound and subtitles in several languages."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "subtitles.srt").write_text("1\n00:00:00,100 --> 00:00:00,300\nHello\n")
    subtitles = ("-i", folder / "subtitles.srt")
    return make(
        *CARD, *TONE, *TONE, *TONE, *subtitles, *subtitles,
        *("-map", "0", "-map", "1", "-map", "2", "-map", "3", "-map", "4", "-map", "5"),
        *("-c:v", "mpeg4", "-c:a:0", "aac", "-c:a:1", "ac3", "-c:a:2", "flac", "-c:s", "srt"),
        *("-metadata:s:a:0", "language=ger", "-metadata:s:a:1", "language=eng"),
        *("-metadata:s:a:2", "language=fre"),
        *("-metadata:s:s:0", "language=ger", "-metadata:s:s:1", "language=eng"),
        folder / "many.mkv",
    )  # fmt: skip


def languages(path: Path, kind: Any) -> list[str]:
    return [stream.language for stream in found(path).of_kind(kind)]


@pytest.mark.parametrize("code", ["de", "deu", "ger"])
async def test_a_language_is_the_same_by_each_of_its_codes(
    code: str, each_ffmpeg: Ffmpeg, many: Path
) -> None:
    output, result = await followed(
        each_ffmpeg, many, "h264", audio={"languages": [code]}, subtitles={"languages": [code]}
    )
    assert languages(output, "audio") == languages(output, "subtitle") == ["ger"]
    assert len(result.left_out) == 3


async def test_a_film_without_the_language_of_its_sound_fails_and_says_what_it_has(
    each_ffmpeg: Ffmpeg, many: Path
) -> None:
    with pytest.raises(FfmpegError, match="that of the source is in eng, fre, ger") as told:
        await followed(each_ffmpeg, many, "h264", audio={"languages": ["ja"]})
    assert told.value.cause == "source_bad"


async def test_sound_is_copied_where_the_container_takes_it(
    each_ffmpeg: Ffmpeg, many: Path
) -> None:
    output, result = await followed(each_ffmpeg, many, "h264", audio="copy")
    assert [it.codec for it in found(output).of_kind("audio")] == ["aac", "ac3", "aac"]
    assert result.warnings == ("audio stream 3 (fre): encoded, as mp4 takes no flac",)


async def test_there_need_be_neither_sound_nor_subtitles(each_ffmpeg: Ffmpeg, many: Path) -> None:
    output, result = await followed(each_ffmpeg, many, "h264", audio="none", subtitles="none")
    assert [it.kind for it in found(output).streams] == ["video"]
    assert len(result.left_out) == 5
    assert result.kept == ("video stream 0: mpeg4",)


@pytest.mark.parametrize(
    ("codec", "container", "becomes"),
    [
        *[("aac", "mp4", "aac"), ("opus", "mp4", "opus"), ("ac3", "mp4", "ac3")],
        *[("eac3", "mp4", "eac3"), ("mp3", "mp4", "mp3"), ("mp2", "mkv", "mp2")],
        *[("vorbis", "mkv", "vorbis"), ("flac", "mkv", "flac"), ("pcm", "mov", "pcm_s24le")],
        *[("mp3", "ts", "mp3"), ("eac3", "ts", "eac3"), ("mp2", "ts", "mp2")],
        *[("eac3", "mov", "eac3"), ("mp3", "mov", "mp3"), ("opus", "mkv", "opus")],
    ],
)
async def test_sound_has_the_codec_that_was_asked_for(
    codec: str, container: str, becomes: str, each_ffmpeg: Ffmpeg, card: Path
) -> None:
    output, _ = await followed(each_ffmpeg, card, "h264", container=container, audio=codec)
    assert [it.codec for it in found(output).of_kind("audio")] == [becomes]


async def test_sound_that_the_usual_container_does_not_take_fails_and_says_what_it_takes(
    each_ffmpeg: Ffmpeg, card: Path
) -> None:
    with pytest.raises(FfmpegError, match="webm takes no aac, only opus, vorbis") as told:
        await followed(each_ffmpeg, card, "vp9", audio="aac")
    assert told.value.cause == "source_bad"


KBPS: Final = {
    "aac": (16, 100, 288),
    "opus": (8, 100, 256),
    "vorbis": (22, 96, 250),
    "mp2": (16, 96, 192),
    "mp3": (16, 96, 160),
    "ac3": (16, 96, 320),
    "eac3": (32, 100, 512),
}
"""What each codec has for stereo that is nearest to 8, 100 and 1024 kb/s a channel."""


@pytest.mark.parametrize("kbps", [8, 100, 1_024])
@pytest.mark.parametrize("codec", ["aac", "opus", "vorbis", "mp2", "mp3", "ac3", "eac3"])
@pytest.mark.parametrize("rate", [22_050, 96_000])
async def test_every_bit_rate_of_sound_is_taken_as_near_as_the_codec_has_it(
    codec: str, kbps: int, rate: int, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    tone = ("-f", "lavfi", "-i", f"sine=d=0.4:r={rate},aformat=channel_layouts=stereo")
    source = make(*CARD, *tone, "-c:v", "mpeg4", "-c:a", "flac", tmp_path / "source.mkv")
    sound = {"codec": codec, "kbps_per_channel": kbps}
    output, result = await followed(each_ffmpeg, source, "mpeg4", container="mkv", audio=sound)
    assert len(found(output).of_kind("audio")) == 1
    least, near, most = KBPS[codec]
    if codec == "aac" and rate == 22_050:
        most = 132
    given = {8: least, 100: near, 1_024: most}[kbps]
    told = [it for it in result.warnings if "kb/s a channel" in it]
    assert len(told) == (given != kbps)
    assert given == kbps or f": {given} kb/s a channel instead of {kbps}, " in told[0]


@pytest.mark.parametrize(
    ("layout", "becomes"),
    [
        *((it, it) for it in ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1")),
        ("7.1", "6.1"),
        ("7.0", "6.1"),
    ],
)
async def test_aac_in_a_transport_stream_keeps_up_to_seven_channels(
    layout: str, becomes: str, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    tone = ("-f", "lavfi", "-i", f"anoisesrc=d=0.4,aformat=channel_layouts={layout}")
    source = make(*CARD, *tone, "-c:v", "mpeg4", "-c:a", "flac", tmp_path / "source.mkv")
    output, result = await followed(each_ffmpeg, source, "h264", container="ts")
    [stream] = found(output).of_kind("audio")
    assert stream.channels == channels_of(becomes)
    assert (f"{layout} became {becomes}" in str(result.warnings)) is (layout != becomes)


# Fields and light


def fields(folder: Path) -> Path:
    card = ("-f", "lavfi", "-i", "testsrc2=s=64x64:r=50:d=0.4")
    return make(*card, "-vf", "interlace", "-c:v", "mpeg2video", "-flags", "+ildct+ilme",
                folder / "source.ts")  # fmt: skip


@pytest.mark.parametrize("codec", ["h264", "mpeg2", "mpeg4", "prores", "ffv1"])
async def test_fields_are_kept_where_the_recipe_says_so(
    codec: str, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    output, result = await followed(each_ffmpeg, fields(tmp_path), codec, deinterlace="never")
    told = ran("-i", output, "-vf", "showinfo", "-frames:v", "1", "-f", "null", "-").stderr
    assert b" i:T " in told, told
    assert "deinterlaced" not in result.warnings


@pytest.mark.parametrize(("bound", "height"), [(90, 88), (126, 124), (17, 16), (178, 176)])
@pytest.mark.parametrize("codec", ["h264", "mpeg2", "mpeg4", "prores", "ffv1"])
async def test_kept_fields_are_made_smaller_to_an_even_height_of_each(
    codec: str, bound: int, height: int, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    card = ("-f", "lavfi", "-i", "testsrc2=s=320x180:r=50:d=0.4")
    source = make(*card, "-vf", "interlace", "-c:v", "mpeg2video", "-flags", "+ildct+ilme",
                  tmp_path / "source.ts")  # fmt: skip
    output, _ = await followed(each_ffmpeg, source, codec, deinterlace="never", max_height=bound)
    assert film_in(output).height == height


@pytest.mark.parametrize("codec", ["hevc", "vp9", "av1"])
async def test_fields_that_an_encoder_can_not_keep_fail_and_say_so(
    codec: str, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    with pytest.raises(FfmpegError, match="can't keep an interlaced film") as told:
        await followed(each_ffmpeg, fields(tmp_path), codec, deinterlace="never")
    assert told.value.cause == "engine"


async def test_frames_that_are_not_flagged_are_deinterlaced_if_all_are_to_be(
    each_ffmpeg: Ffmpeg, card: Path
) -> None:
    _, result = await followed(each_ffmpeg, card, "h264", deinterlace="always")
    assert result.warnings == ("deinterlaced",)


def bright(folder: Path) -> Path:
    tags = "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv"
    return make(*CARD, "-vf", f"format=yuv420p10le,{tags}", "-c:v", "libx265", "-x265-params",
                "log-level=error", folder / "source.mkv")  # fmt: skip


@pytest.mark.parametrize("codec", ["hevc", "av1", "vp9", "ffv1", "prores"])
async def test_hdr_becomes_standard_in_a_10_bit_codec_too(
    codec: str, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    output, result = await followed(each_ffmpeg, bright(tmp_path), codec, hdr="tonemap")
    film = film_in(output)
    assert film.colours == ("bt709",) * 3
    assert "10le" in film.pixels
    assert "tone-mapped: HDR (smpte2084) became SDR" in result.warnings


async def test_hdr_that_is_to_be_kept_and_can_not_be_fails(
    each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    output, _ = await followed(each_ffmpeg, bright(tmp_path), "hevc", hdr="keep")
    assert film_in(output).transfer == "smpte2084"
    fallback = each_ffmpeg.encoders["h264"]
    unable = each_ffmpeg._replace(encoders={"hevc": fallback})
    with pytest.raises(FfmpegError, match="has 8 bits here") as told:
        await followed(unable, bright(tmp_path), "hevc", hdr="keep")
    assert told.value.cause == "engine"


# Raw arguments


async def test_raw_arguments_are_ffmpegs_own(each_ffmpeg: Ffmpeg, card: Path) -> None:
    output, _ = await followed(
        each_ffmpeg,
        card,
        "h264",
        ffmpeg_args=["-vf", "hflip,crop=32:32", "-g", "5", "-af", "volume=0"],
    )
    assert (film_in(output).width, film_in(output).height) == (32, 32)


REFUSED: Final[Sequence[Sequence[str]]] = (
    *(["-i", "/etc/passwd"], ["-map", "0"], ["/tmp/other.mp4"], ["-an", "/tmp/other.mp4"]),
    *(["-y", "other.mp4"], ["-vf", "movie=/etc/passwd"], ["-vf", "subtitles=a.srt"]),
    *(["-vf", "scale=32:32,lut3d=a.cube"], ["-filter_complex", "null"], ["-f", "tee"]),
    *(["-vf", "scale[a];movie=x[b]"], ["-x265-params", "csv=out.csv"], ["-ss", "1"]),
    *(["-x264-params", "ref=1:stats=a.log"], ["-attach", "file"], ["-passlogfile", "a"]),
    *(["-progress", "http://127.0.0.1/"], ["-protocol_whitelist", "http"], ["-nostdin", "x"]),
    *(["-/vf", "chain"], ["-vstats_file", "a"], ["-dump_attachment:t", "a"], ["-fpre", "a"]),
    *(["-report", "x"], ["-tune", "http://127.0.0.1/"], ["-c:v", "copy"], ["-t", "1"]),
    *(["-vf", "drawtext=textfile=/etc/passwd"], ["-sdp_file", "x"], ["-preset"]),
    *(["-filter:v", "sendcmd=f=a"], ["-filter_script:v", "a"], ["-pass", "1"], ["-fs", "10"]),
    *(["-svtav1-params", "fgs-table=t"], ["-x265-params", "scaling-list=t"]),
    *(["-x265-params", "film-grain=t"], ["-aom-params", "film-grain-table=t"]),
    *(["-x264-params", "ref=1:qpfile=t"], ["-x265-params", "profile=main:lambda-file=t"]),
    *(
        ["-version", "x"],
        ["-encoders", "x"],
        ["-buildconf", "x"],
        ["-devices", "x"],
        ["-noan", "x"],
    ),
    *(["-nostats", "x"], ["-force_fps", "x"], ["-max_error_rate", "1"], ["-vf", "scale=a/b"]),
    *(["-tune", "a/1"], ["-vf", "scale=/1"], ["-cpuflags", "0"], ["-sources", "x"]),
)

TAKEN: Final[Sequence[Sequence[str]]] = (
    *(["-profile:v", "high"], ["-x264-params", "profile=high:ref=2"], ["-noise_reduction", "10"]),
    *(["-vf", "scale=w=iw/2:h=-2"], ["-vf", "pad=80:80:(ow-iw)/2:0"], ["-level:v", "4.1"]),
    *(["-vf", "scale=32:trunc(ow/2)*2"], ["-af", "volume=1/2"], ["-x264-params", "log-level=0"]),
)


@pytest.mark.parametrize("arguments", TAKEN, ids=" ".join)
async def test_arguments_that_look_like_files_and_are_none_are_taken(
    arguments: list[str], ffmpeg: Ffmpeg, card: Path
) -> None:
    output, _ = await followed(ffmpeg, card, "h264", ffmpeg_args=arguments)
    assert times_in(output)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-svtav1-params", "film-grain=8:film-grain-denoise=1"],
        ["-x265-params", "profile=main:scaling-list=default"],
        ["-aom-params", "film-grain-test=1"],
    ],
    ids=" ".join,
)
def test_numbers_and_words_are_no_files(arguments: list[str]) -> None:
    assert raw_of(arguments).params == {arguments[0]: arguments[1]}


@pytest.mark.parametrize("arguments", REFUSED, ids=" ".join)
async def test_arguments_that_read_or_write_elsewhere_are_refused(
    arguments: list[str], ffmpeg: Ffmpeg, card: Path
) -> None:
    with pytest.raises(FfmpegError, match="'ffmpeg_args' are refused at") as told:
        await followed(ffmpeg, card, "h264", ffmpeg_args=arguments)
    assert told.value.cause == "source_bad"
