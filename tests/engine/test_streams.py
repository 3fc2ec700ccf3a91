"""What ffmpeg's reports say of a source. The texts in reports/ were printed by both versions."""

from pathlib import Path

import pytest

from dispatcher.engine.hdr import Light, light_of, parameters_of
from dispatcher.engine.pixels import nearest_of, pixels_of
from dispatcher.engine.streams import Source, channels_of, may_be_still, source_of

VERSIONS = pytest.mark.parametrize("version", ["5.1", "9.0"])


def report(name: str, version: str) -> str:
    return (Path(__file__).parent / "reports" / f"{name}-{version}.txt").read_text()


def reported(name: str, version: str) -> Source:
    found = source_of(report(name, version))
    assert found is not None
    return found


@VERSIONS
def test_a_film_with_everything_is_known_stream_by_stream(version: str) -> None:
    found = reported("rich", version)
    assert (found.demuxer, found.duration_s, found.start_s) == ("matroska,webm", 1.0, 0.0)
    assert (found.tags["title"], found.chapters) == ("A film", 2)
    kinds = ["video", "audio", "audio", "subtitle", "subtitle", "attachment", "video"]
    assert [stream.kind for stream in found.streams] == kinds
    film, surround, mono, forced, styled, font, cover = found.streams
    assert (film.codec, film.pixels, film.full_range) == ("hevc", "yuv420p10le", False)
    assert film.colours == ("bt2020nc", "bt2020", "smpte2084")
    assert (film.width, film.height, film.aspect) == (64, 48, (4, 3))
    assert (film.fps, film.base_fps, film.field_order) == (25, 25, "progressive")
    assert not film.is_interlaced
    assert (surround.language, surround.title) == ("ger", "Kommentar, (5.1)")
    assert (surround.layout, surround.channels, surround.sample_rate) == ("5.1(side)", 6, 44_100)
    assert mono.dispositions == {"default", "comment"}
    assert (forced.codec, forced.language) == ("subrip", "fre")
    assert forced.dispositions == {"forced"}
    assert (styled.codec, font.codec) == ("ass", "ttf")
    assert (cover.is_cover, film.is_cover) == (True, False)


@VERSIONS
def test_a_phones_film_is_known_with_its_rotation_and_a_track_that_none_can_decode(
    version: str,
) -> None:
    film, stereo, spatial, timecode = reported("spatial", version).streams
    assert any("rotation of 90.00 degrees" in line for line in film.side_data)
    assert (stereo.codec, stereo.tag, stereo.language) == ("aac", "mp4a", "")
    assert spatial.codec in {"none", "apple_apac"}
    assert spatial.tag == "apac"
    assert (timecode.kind, timecode.tag) == ("data", "tmcd")


@VERSIONS
def test_a_broadcast_is_known_as_interlaced_with_its_languages(version: str) -> None:
    found = reported("interlaced", version)
    film, *sound = found.streams
    assert (film.is_interlaced, film.codec, film.aspect) == (True, "mpeg2video", (4, 3))
    assert [stream.language for stream in sound] == ["deu", "eng"]
    assert 1.4 < found.start_s < 1.5


@VERSIONS
def test_the_light_of_a_film_is_read_and_written_for_each_encoder(version: str) -> None:
    light = light_of(report("light", version))
    assert light.primaries["wp"] == (0.3127, 0.329)
    assert (light.luminance, light.levels) == ((0.0001, 1000.0), (1000, 400))
    assert parameters_of(light, "libx265") == [
        "hdr10=1",
        "repeat-headers=1",
        "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)",
        "max-cll=1000,400",
    ]
    assert parameters_of(light, "libsvtav1")[1] == "content-light=1000,400"
    assert parameters_of(Light(), "libx265") == []


def test_what_can_not_be_opened_has_no_report() -> None:
    assert source_of("[in#0 @ 0x1] moov atom not found\nError opening input files: x\n") is None


@pytest.mark.parametrize(
    "line",
    ["  Stream #0:0: Video:", "  Stream #0:0: Audio: aac, , ,", "  Stream #0:1(", "  Duration: x"],
)
def test_no_text_makes_the_reading_fail(line: str) -> None:
    assert source_of(f"Input #0, mov, from 'x':\n{line}\n") is not None


def test_a_title_can_not_pretend_to_be_a_stream() -> None:
    title = "    title           : a\n                    :   Stream #0:7: Video: h264, yuv420p\n"
    found = source_of(f"Input #0, mov, from 'x':\n  Metadata:\n{title}")
    assert found is not None
    assert found.streams == ()


def test_one_picture_is_suspected_by_its_codec_its_length_and_its_brand() -> None:
    head = "Input #0, {}, from 'x':\n"
    film = "  Stream #0:0: Video: h264, yuv420p, 64x48, 25 fps\n"
    for text, suspected in (
        ("  Duration: 00:00:10.00, start: 0\n" + film, False),
        ("  Duration: 00:00:00.04, start: 0\n" + film, True),
        ("  Duration: N/A\n" + film, True),
        ("  Duration: 00:00:10.00, start: 0\n" + film.replace("h264", "mjpeg"), True),
        ("  Metadata:\n    major_brand     : heic\n  Duration: 00:00:10.00\n" + film, True),
    ):
        found = source_of(head.format("mov") + text)
        assert found is not None
        assert may_be_still(found, found.streams[0]) == suspected, text


@pytest.mark.parametrize(
    ("layout", "channels"),
    [
        *[("mono", 1), ("stereo", 2), ("2.1", 3), ("quad(side)", 4), ("5.1(side)", 6), ("7.1", 8)],
        *[("7.1.4", 12), ("22.2", 24), ("hexadecagonal", 16), ("ambisonic 1", 4), ("", 0)],
        *[("12 channels", 12), ("3 channels (FL+FR+LFE)", 3)],
    ],
)
def test_channels_are_counted_by_the_name_of_the_layout(layout: str, channels: int) -> None:
    assert channels_of(layout) == channels


@pytest.mark.parametrize(
    ("name", "holds"),
    [
        *[("yuv420p", "8-bit 4:2:0"), ("nv12", "8-bit 4:2:0"), ("yuvj422p", "8-bit 4:2:2")],
        *[("yuv422p10le", "10-bit 4:2:2"), ("p010le", "10-bit 4:2:0"), ("gray", "8-bit 4:2:0")],
        *[("yuv444p12le", "12-bit 4:4:4"), ("yuva444p16le", "16-bit 4:4:4 with alpha")],
        *[("gbrp10le", "10-bit RGB"), ("bgra", "8-bit RGB with alpha"), ("rgb48le", "16-bit RGB")],
        *[("gbrpf32le", "16-bit RGB"), ("x2rgb10le", "10-bit RGB"), ("y210le", "10-bit 4:2:2")],
        *[("gray10le", "10-bit 4:2:0"), ("ya8", "8-bit 4:2:0 with alpha")],
    ],
)
def test_what_a_pixel_format_holds_is_in_its_name(name: str, holds: str) -> None:
    assert pixels_of(name).described == holds


def test_the_nearest_format_keeps_alpha_then_depth_then_colour() -> None:
    names = ("yuv420p", "yuv420p10le", "yuv444p", "yuv444p10le", "yuva420p")
    for wanted, nearest in (
        ("yuv420p", "yuv420p"),
        ("yuv422p", "yuv444p"),
        ("yuv420p12le", "yuv420p10le"),
        ("yuv444p10le", "yuv444p10le"),
        ("yuva444p10le", "yuva420p"),
    ):
        assert nearest_of(names, pixels_of(wanted)) == nearest, wanted
