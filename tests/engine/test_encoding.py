"""The arguments of an encode, for what a source has: a pure function, without ffmpeg."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest

from dispatcher.engine.codecs import CODECS, Codec, Encoder, Target
from dispatcher.engine.encoding import Abilities, Encoding, NoFilmError, encoding_of
from dispatcher.engine.ffmpeg_errors import FfmpegError
from dispatcher.engine.streams import Source, Stream
from dispatcher.recipes import Recipe

ABLE = Abilities(
    frozenset({"zscale", "tonemap"}),
    frozenset({"h264", "hevc", "vp9", "aac", "flac", "subrip", "ass", "hdmv_pgs_subtitle"}),
)
FILM = Stream(
    index=0, kind="video", codec="h264", pixels="yuv420p", width=64, height=48, fps=25, base_fps=25
)
PQ = ("bt2020nc", "bt2020", "smpte2084")
XIPH = {"mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1"}


def sound(layout: str, index: int = 1, **more: Any) -> Stream:
    told = {"codec": "aac", "sample_rate": 48_000, "layout": layout, **more}
    return Stream(index=index, kind="audio", **told)


def text(codec: str, index: int = 2, **more: Any) -> Stream:
    return Stream(index=index, kind="subtitle", codec=codec, **more)


def film(**changed: Any) -> Stream:
    return msgspec.structs.replace(FILM, **changed)


def named(name: str) -> Codec:
    return next(codec for codec in CODECS if name in codec.names)


def encoded(
    codec: str,
    *streams: Stream,
    abilities: Abilities = ABLE,
    encoder: Encoder | None = None,
    recipe: Recipe | None = None,
) -> Encoding:
    row = named(codec)
    taken = next((it for it in streams if it.kind == "video"), None)
    source = Source(demuxer="mov", streams=streams)
    target = Target(row, encoder or row.encoders[0], recipe or Recipe())
    return encoding_of(source, taken, target, abilities)


def value(encoding: Encoding, option: str) -> str:
    return encoding.options[encoding.options.index(option) + 1]


def filters(encoding: Encoding) -> str:
    return value(encoding, "-filter:v:0")


def maps(encoding: Encoding) -> list[str]:
    words = encoding.options
    return [after for word, after in pairwise(words) if word == "-map"]


# Sound


def test_every_track_goes_along_with_its_flags_and_its_title() -> None:
    streams = (
        FILM,
        sound("5.1", 1, language="ger", dispositions=frozenset({"default"})),
        sound("mono", 2, tags={"title": "Comments"}, dispositions=frozenset({"visual impaired"})),
    )
    found = encoded("h264", *streams)
    assert maps(found) == ["0:0", "0:1", "0:2"]
    assert (value(found, "-b:a:0"), value(found, "-b:a:1")) == ("384k", "64k")
    assert (value(found, "-disposition:1"), value(found, "-disposition:2")) == (
        "default",
        "visual_impaired",
    )
    assert value(found, "-metadata:s:2") == "handler_name=Comments"
    assert found.changes == []


@pytest.mark.parametrize(
    ("layout", "codec", "becomes"),
    [
        *[("2.1", "vp9", "5.1"), ("4.0", "vp9", "5.0"), ("3.1", "vp9", "5.1")],
        *[("5.1(side)", "vp9", "5.1"), ("quad(side)", "vp9", "quad"), ("7.0", "vp9", "7.1")],
        *[("6.0", "vp9", "6.1"), ("7.1(wide)", "vp9", "7.1"), ("octagonal", "vp9", "7.1")],
        *[("2.1", "vp8", "5.1"), ("3.1", "h264", "5.1"), ("hexadecagonal", "h264", "7.1")],
        *[("22.2", "vp9", "7.1"), ("5.1", "mpeg2", "5.1(side)"), ("6.0", "mpeg2", "5.1(side)")],
        *[("7.1", "mpeg2", "5.1(side)"), ("3 channels (FL+FR+LFE)", "vp9", "5.1")],
    ],
)
def test_a_layout_becomes_the_nearest_that_the_codec_has(
    layout: str, codec: str, becomes: str
) -> None:
    chain = value(encoded(codec, FILM, sound(layout)), "-filter:a:0")
    assert chain.endswith(f"aformat=channel_layouts={becomes}") or f"pan={becomes}|" in chain


@pytest.mark.parametrize("layout", sorted(XIPH))
@pytest.mark.parametrize("codec", ["h264", "vp8", "vp9", "prores", "ffv1"])
def test_a_layout_that_the_codec_has_is_not_touched(layout: str, codec: str) -> None:
    found = encoded(codec, FILM, sound(layout))
    filters = value(found, "-filter:a:0")
    assert "pan=" not in filters
    assert "aformat=" not in filters
    assert found.changes == []


def test_channels_that_nobody_knows_are_taken_in_their_order() -> None:
    found = encoded("h264", FILM, sound("12 channels"))
    assert "pan=7.1|c0=c0|" in value(found, "-filter:a:0")
    assert found.changes == ["audio stream 1: 12 channels became 7.1"]


def test_sound_that_lossless_sound_can_not_hold_is_kept_without_compression() -> None:
    assert value(encoded("ffv1", FILM, sound("7.1")), "-c:a:0") == "flac"
    assert value(encoded("ffv1", FILM, sound("hexadecagonal")), "-c:a:0") == "pcm_s24le"


@pytest.mark.parametrize(
    "track", [sound("stereo", codec="none", tag="apac"), sound("", sample_rate=0)]
)
def test_a_track_that_can_not_be_decoded_is_left_out_and_named(track: Stream) -> None:
    found = encoded("h264", FILM, track, sound("mono", 2))
    assert maps(found) == ["0:0", "0:2"]
    assert value(found, "-c:a:0") == "aac"
    [told] = found.left_out
    assert told.startswith("audio stream 1: ")


# Subtitles, attachments and the rest


@pytest.mark.parametrize(
    ("codec", "subtitle", "becomes"),
    [
        *[("h264", "subrip", "mov_text"), ("vp9", "ass", "webvtt"), ("prores", "ass", "mov_text")],
        *[("ffv1", "ass", "copy"), ("ffv1", "hdmv_pgs_subtitle", "copy")],
        *[("h264", "hdmv_pgs_subtitle", None), ("vp9", "hdmv_pgs_subtitle", None)],
        *[("theora", "subrip", None), ("mpeg2", "subrip", None), ("mpeg2", "dvb_subtitle", "copy")],
    ],
)
def test_subtitles_go_along_where_the_container_has_a_place_for_them(
    codec: str, subtitle: str, becomes: str | None
) -> None:
    found = encoded(codec, FILM, text(subtitle, language="fre"))
    if becomes is None:
        place = named(codec).container
        assert found.left_out == [f"subtitle stream 2 (fre): {subtitle} has no place in {place}"]
    else:
        assert (value(found, "-c:s:0"), found.left_out) == (becomes, [])


def test_a_cover_and_data_are_left_out_and_named_but_not_what_ffmpeg_makes_anew() -> None:
    cover = film(index=3, dispositions=frozenset({"attached pic"}))
    code = Stream(index=4, kind="data", codec="none", tag="tmcd")
    places = Stream(index=5, kind="data", codec="bin_data", tag="gpmd")
    assert encoded("h264", FILM, cover, code, places).left_out == [
        "video stream 3: it is a cover picture",
        "data stream 5: bin_data is neither picture, sound nor text",
    ]


def test_counts_of_the_sources_packets_are_not_told_of_the_output() -> None:
    found = encoded("ffv1", film(tags={"BPS-eng": "1", "title": "x"}))
    assert value(found, "-metadata:s:0") == "BPS-eng="


@pytest.mark.parametrize(
    ("streams", "found"),
    [
        ((), "has no streams"),
        ((sound("mono"),), "has sound only"),
        ((text("subrip"),), "has only subtitle streams"),
    ],
)
def test_a_source_without_a_film_is_refused(streams: tuple[Stream, ...], found: str) -> None:
    with pytest.raises(NoFilmError) as told:
        encoded("h264", *streams)
    assert str(told.value) == f"no video stream: the source {found}"
    assert told.value.cause == "source_bad"


# The picture


@pytest.mark.parametrize(
    ("codec", "pixels", "becomes"),
    [
        *[("h264", "yuv422p10le", "yuv420p"), ("hevc", "yuv422p10le", "yuv422p10le")],
        *[("hevc", "yuv444p", "yuv444p"), ("vp9", "yuv420p12le", "yuv420p10le")],
        *[("vp9", "yuva420p", "yuva420p"), ("vp8", "bgra", "yuva420p"), ("av1", "yuv444p",
           "yuv420p")],
        *[("prores", "yuva444p", "yuva444p10le"), ("prores", "yuv420p", "yuv422p10le")],
        *[("hevc", "gbrp", "yuv420p"), ("prores", "gbrp", "yuv444p10le")],
    ],
)  # fmt: skip
def test_the_pixels_are_the_nearest_that_the_encoder_has(
    codec: str, pixels: str, becomes: str
) -> None:
    assert f"format={becomes}" in filters(encoded(codec, film(pixels=pixels)))


def test_a_lossless_codec_takes_the_pixels_as_they_are() -> None:
    assert "-filter:v:0" not in encoded("ffv1", film(pixels="gbrp16le")).options


def test_transparency_that_stands_in_a_tag_is_read_and_kept() -> None:
    clear = film(codec="vp9", tags={"alpha_mode": "1"})
    found = encoded("vp9", clear)
    assert found.input_options == ["-c:0", "libvpx-vp9"]
    assert value(found, "-auto-alt-ref") == "0"
    lost = encoded("h264", clear)
    assert lost.input_options == []
    assert lost.changes == ["8-bit 4:2:0 with alpha became 8-bit 4:2:0"]
    assert value(lost, "-metadata:s:v:0") == "alpha_mode="


def test_fields_become_frames_before_anything_else_is_done_to_them() -> None:
    found = encoded("h264", film(field_order="top coded first (swapped)"))
    assert filters(found).startswith("bwdif=mode=send_frame:parity=auto:deint=interlaced,")
    assert found.changes == ["deinterlaced"]


def test_odd_sizes_are_padded_by_their_own_edge_where_the_encoder_needs_even_ones() -> None:
    odd = film(width=65, height=48)
    assert filters(encoded("h264", odd)) == (
        "format=yuv444p,pad=ceil(iw/2)*2:ceil(ih/2)*2,fillborders=right=1:bottom=0:mode=smear,"
        "format=yuv420p"
    )
    assert "pad=" not in filters(encoded("vp9", odd))
    turned = film(width=65, height=48, side_data=("displaymatrix: rotation of -90.00 degrees",))
    assert "right=0:bottom=1" in filters(encoded("h264", turned))


def test_a_shape_that_the_codec_can_not_tell_is_scaled_to_square_pixels() -> None:
    assert "setsar=1" in filters(encoded("mpeg2", film(aspect=(3, 2))))
    assert "setsar=1" not in filters(encoded("mpeg2", film(aspect=(4, 3))))
    assert "setsar=1" not in filters(encoded("h264", film(aspect=(3, 2))))


@pytest.mark.parametrize(
    ("codec", "fps", "base"),
    [("h264", 25, "1:90000"), ("h264", 23.98, "1:120000"), ("mpeg4", 23.98, "1:60000")],
)
def test_frames_keep_their_times(codec: str, fps: float, base: str) -> None:
    assert value(encoded(codec, film(fps=fps)), "-enc_time_base") == base


# High dynamic range


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le"])
def test_8_bits_never_stand_under_the_tags_of_hdr(transfer: str, pixels: str) -> None:
    bright = film(pixels=pixels, colours=("bt2020nc", "bt2020", transfer))
    for codec in CODECS:
        chain = "" if codec.names[0] == "ffv1" else filters(encoded(codec.names[0], bright))
        if "format=yuv420p10le" in chain or "format=yuv422p10le" in chain:
            assert "tonemap" not in chain, codec.names
        elif chain:
            assert "tonemap=tonemap=hable" in chain, codec.names
            assert "sidedata=mode=delete:type=MASTERING_DISPLAY_METADATA" in chain


def test_without_the_filters_for_it_an_8_bit_target_of_hdr_fails_and_says_so() -> None:
    bright = film(pixels="yuv420p10le", colours=PQ)
    unable = ABLE._replace(filters=frozenset({"tonemap"}))
    with pytest.raises(FfmpegError, match="needs an ffmpeg with the filters zscale") as told:
        encoded("h264", bright, abilities=unable)
    assert told.value.cause == "engine"
    assert encoded("hevc", bright, abilities=unable).changes == []


def test_an_encoder_of_8_bits_in_the_row_of_a_10_bit_codec_gets_standard_light() -> None:
    bright = film(pixels="yuv420p10le", colours=PQ)
    found = encoded("hevc", bright, encoder=named("hevc").encoders[1])
    assert "tonemap" in filters(found)
    assert found.changes[0] == "encoded with libkvazaar, as libx265 is not there"


def test_dolby_vision_with_colours_of_its_own_fails_and_says_what_to_do() -> None:
    private = film(side_data=("DOVI configuration record: version: 1.0, profile: 5, level: 6",))
    with pytest.raises(FfmpegError, match="profile 5") as told:
        encoded("hevc", private)
    assert told.value.cause == "source_bad"


def test_a_film_that_this_ffmpeg_can_not_decode_is_for_another_engine() -> None:
    with pytest.raises(FfmpegError, match="can't be decoded by this ffmpeg") as told:
        encoded("h264", film(codec="vvc"))
    assert told.value.cause == "engine"


@pytest.mark.parametrize("codec", ["h264", "mpeg4", "av1"])
@pytest.mark.parametrize(
    ("fps", "rate"),
    [(0.001, "1/1000"), (0.004, "1/250"), (0.2, "1/5"), (0.75, "3/4"),
     (23.976, "24000/1001"), (29.97, "30000/1001"), (12.5, "25/2")],
)  # fmt: skip
def test_every_rate_is_that_which_was_asked_for(codec: str, fps: float, rate: str) -> None:
    assert f"fps={rate}" in filters(encoded(codec, FILM, recipe=Recipe(fps=fps))).split(",")
