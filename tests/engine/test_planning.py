"""Where a film is cut, and which films are not."""

from fractions import Fraction
from itertools import pairwise

import pytest

from dispatcher.engine.codecs import CODECS, Target
from dispatcher.engine.film_index import FilmIndex, digest_of_times
from dispatcher.engine.messages import Messages
from dispatcher.engine.planning import NotSplitError, check_film, segment_muxer, segments_of
from dispatcher.engine.streams import Source, Stream
from dispatcher.recipes import Recipe
from dispatcher.segments import MOST_PARTS, Plan, Segment, plan_of

H264 = Target(CODECS[0], CODECS[0].encoders[0])
FILM = Stream(index=0, kind="video", codec="h264", width=96, height=64)


def target(codec: str) -> Target:
    row = next(it for it in CODECS if codec in it.names)
    return Target(row, row.encoders[0], Recipe())


def line(dts: int, pts: int, flags: int = 1, lasts: int = 40) -> str:
    return f"0,{dts:11},{pts:11},{lasts:9},      100, 0x00000000" + (
        "" if flags == 1 else f", F=0x{flags:X}"
    )


def index(*lines: str, base: str = "1/1000") -> FilmIndex:
    found = FilmIndex(["0:v:0"])
    for it in ["#tb 0: " + base, "#media_type 0: video", *lines]:
        found.read(it)
    return found


def even(pictures: int, gop: int, base: str = "1/1000", first: int = 0) -> FilmIndex:
    """Return the index of a film of 25 pictures a second, with a key frame every `gop`."""
    return index(
        *(line(first + 40 * n, first + 40 * n, 1 if n % gop == 0 else 0) for n in range(pictures)),
        base=base,
    )


def split(found: FilmIndex, split_s: float, offset: int = 0) -> tuple[Segment, ...]:
    segments = segments_of(found, offset, Messages(), H264, split_s)
    assert plan_of(Plan(segments).wire()).parts == segments, "the dispatcher takes it"
    return segments


def begins_of(segments: tuple[Segment, ...]) -> list[int]:
    return [it.begins for it in segments]


def test_a_film_is_cut_at_the_first_key_frame_at_or_after_each_multiple() -> None:
    assert begins_of(split(even(250, 25), 2)) == [0, 2_000, 4_000, 6_000, 8_000]
    assert begins_of(split(even(250, 30), 2)) == [0, 2_400, 4_800, 6_000, 8_400]


def test_key_frames_far_apart_skip_multiples() -> None:
    assert begins_of(split(even(500, 125), 2)) == [0, 5_000, 10_000, 15_000]


def test_a_short_last_segment_is_joined_to_the_one_before() -> None:
    assert begins_of(split(even(220, 25), 2)) == [0, 2_000, 4_000, 6_000]
    assert begins_of(split(even(225, 25), 2)) == [0, 2_000, 4_000, 6_000, 8_000]


def test_segments_are_longer_where_there_would_be_too_many() -> None:
    segments = split(even(3_000, 1), 1)
    assert len(segments) == 120
    dense = split(index(*(line(n * 1_000, n * 1_000, 1, 1_000) for n in range(2_500))), 1)
    assert len(dense) < MOST_PARTS
    assert dense[1].begins == 4_000


def test_segments_have_all_pictures_once_and_no_gap() -> None:
    found = even(250, 30, first=80)
    segments = split(found, 2, offset=1_400)
    assert sum(it.frames for it in segments) == 250
    assert all(a.begins + a.lasts == b.begins for a, b in pairwise(segments))
    assert segments[-1].begins + segments[-1].lasts == 80 + 250 * 40
    assert {it.offset for it in segments} == {1_400}
    assert segments[0].from_s is None
    assert segments[-1].to_s is None
    assert all(a.to_s == b.from_s for a, b in pairwise(segments))
    assert segments[1].from_s == 2.46
    times = found.times()
    assert segments[1].times_sha256 == digest_of_times(times[60:120], segments[1].begins)


def test_a_segment_is_sought_at_the_key_frame_before_its_own() -> None:
    said = Messages()
    said.format = "mov,mp4,m4a,3gp,3g2,mj2"
    segments = segments_of(even(250, 25), 0, said, H264, 2)
    assert [it.seek_s for it in segments] == [None, 1.0, 3.0, 5.0, 7.0]
    said.format = "mpegts"
    segments = segments_of(even(250, 25), 0, said, H264, 2)
    assert [it.seek_s for it in segments] == [None, None, 2.0, 4.0, 6.0]


def test_pictures_that_are_shown_before_a_key_frame_are_of_the_segment_before() -> None:
    lines = []
    for gop in range(4):  # an open GOP: the key frame is stored before two that are shown earlier
        first = gop * 1_000
        order = [(0, 1), (-80, 0), (-40, 0), *((n * 40, 0) for n in range(1, 23))]
        lines += [
            line(first + place * 40 - 80, first + at, key) for place, (at, key) in enumerate(order)
        ]
    segments = split(index(*lines), 1)
    assert begins_of(segments) == [0, 1_000, 2_000, 3_000]
    assert [it.frames for it in segments] == [25, 25, 25, 23]
    assert segments[0].from_s == -0.02, "those that nothing can be decoded of are left away"


def test_pictures_that_are_not_to_be_shown_are_none() -> None:
    hidden = [line(-80, -80, 5), line(-40, -40, 4)]
    rest = [line(40 * n, 40 * n, 1 if n % 25 == 0 else 0) for n in range(50)]
    assert sum(it.frames for it in split(index(*hidden, *rest), 1)) == 50


NO_TIME = -(1 << 63)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (index(line(0, 0), line(40, NO_TIME, 0)), "pictures without a time"),
        (index(line(0, 0), line(0, 40, 0)), "do not grow"),
        (index(line(0, 0), line(40, 0, 0)), "two pictures at one time"),
        (index(line(0, 0), line(40, 40, 2)), "damaged packets"),
        (index(line(0, 0, 0)), "no key frame"),
        (index(), "no key frame"),
        (even(50, 25, base="1/10000000"), "finer than microseconds"),
        (even(50, 50), "no key frame where a second segment of 1 s begins"),
        (even(30, 25), "no key frame where a second segment of 1 s begins"),
    ],
)
def test_what_can_not_be_told_exactly_is_not_split(found: FilmIndex, why: str) -> None:
    with pytest.raises(NotSplitError, match=why):
        split(found, 1)


def test_a_source_whose_times_jump_is_not_split() -> None:
    said = Messages()
    said.read("[mpegts @ 0x1] [warning] timestamp discontinuity for stream #0")
    with pytest.raises(NotSplitError, match="jump"):
        segments_of(even(50, 25), 0, said, H264, 1)


@pytest.mark.parametrize(
    ("demuxer", "film", "codec", "filters", "why"),
    [
        ("hls", FILM, "h264", [], "playlist"),
        ("mpegts", Stream(index=0, kind="video", codec="h264", field_order="top first"), "h264",
         [], "interlaced"),
        ("mpegts", FILM, "mpeg2", [], "constant rate"),
        ("mpegts", FILM, "theora", [], "constant rate"),
        ("mpegts", FILM, "vp8", [], "can't be joined"),
        ("mpegts", FILM, "ffv1", [], "can't be joined"),
        ("matroska,webm", FILM, "vp9", ["format=yuva420p"], "transparency"),
    ],
)  # fmt: skip
def test_some_films_are_not_split_before_they_are_read(
    demuxer: str, film: Stream, codec: str, filters: list[str], why: str
) -> None:
    with pytest.raises(NotSplitError, match=why):
        check_film(Source(demuxer=demuxer, streams=(film,)), film, target(codec), filters)


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1", "mpeg4", "prores"])
def test_most_codecs_can_be_joined(codec: str) -> None:
    check_film(Source(demuxer="mpegts", streams=(FILM,)), FILM, target(codec), [])
    assert segment_muxer(target(codec)) == ("mov" if codec == "prores" else "mp4")


def test_mpeg4_counts_to_few_ticks() -> None:
    with pytest.raises(NotSplitError, match="mpeg4"):
        segments_of(even(50, 25, base="1/90000"), 0, Messages(), target("mpeg4"), 1)


def test_the_last_picture_lasts_as_long_as_the_one_before_if_nothing_is_said() -> None:
    assert index(line(0, 0), line(40, 40, 0, 0)).end() == 80
    assert index(line(0, 0, 1, 0)).end() == 1
    assert even(2, 1).time_base == Fraction(1, 1_000)
