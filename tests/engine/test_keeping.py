"""What comes out is what went in: real films of every kind, with each ffmpeg that is here."""

import struct
import subprocess
from pathlib import Path
from typing import Final

import pytest

from dispatcher.engine.ends import find_pyav
from dispatcher.engine.ffmpeg import Checks, Ffmpeg, FfmpegError, Input
from dispatcher.engine.sources import FILE_PROTOCOLS
from dispatcher.engine.transcoding import transcode
from tests.support.films import film_in, found, make, ran, times_in
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.sources import make_good

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio

CARD: Final = ("-f", "lavfi", "-i", "testsrc2=s=64x64:r=25:d=0.4")
TONE: Final = ("-f", "lavfi", "-i", "sine=d=0.4")
DISPLAY: Final = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
CHAPTERS: Final = """;FFMETADATA1
title=A film
[CHAPTER]
TIMEBASE=1/1000
START=0
END=200
title=One
[CHAPTER]
TIMEBASE=1/1000
START=200
END=400
title=Two
"""
SUBTITLE: Final = "1\n00:00:00,100 --> 00:00:00,300\nHello\n"


def grey(path: Path, chain: str, *decoder: str, alpha: bool = False) -> bytes:
    """Return the first picture, each point a byte of how light it is, or how opaque."""
    chain = f"{'alphaextract' if alpha else 'format=gray'},{chain}"
    return ran(
        *decoder, "-i", path, "-vf", chain, "-frames:v", "1", "-f", "rawvideo", "-"
    ).stdout  # fmt: skip


async def transcoded(ffmpeg: Ffmpeg, source: Path, codec: str) -> tuple[Path, list[str]]:
    if codec not in ffmpeg.encoders:
        pytest.skip(f"this ffmpeg does not encode {codec}")
    output = source.parent / f"output-{codec}"
    result = await transcode(ffmpeg, Input(f"file:{source}", FILE_PROTOCOLS), codec, output)
    return output, [*result.warnings, *result.left_out]


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film with HDR10, two languages, two kinds of subtitles and chapters."""
    folder = tmp_path_factory.mktemp("rich")
    (folder / "chapters").write_text(CHAPTERS)
    (folder / "text.srt").write_text(SUBTITLE)
    bright = "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv"
    params = f"log-level=error:hdr10=1:master-display={DISPLAY}:max-cll=1000,400"
    return make(
        *CARD, *TONE, "-f", "lavfi", "-i", "sine=d=0.4,aformat=channel_layouts=5.1(side)",
        *("-i", folder / "text.srt", "-i", folder / "chapters"),
        *("-map", "0", "-map", "1", "-map", "2", "-map", "3", "-map", "3"),
        *("-map_metadata", "4", "-map_chapters", "4"),
        *("-vf", f"format=yuv420p10le,setsar=4/3,{bright}"),
        *("-c:v", "libx265", "-x265-params", params, "-c:a", "flac"),
        *("-c:s:0", "srt", "-c:s:1", "ass"),
        *("-metadata:s:a:0", "language=ger", "-metadata:s:a:1", "language=eng"),
        *("-metadata:s:a:1", "title=Around", "-metadata:s:s:0", "language=fre"),
        *("-disposition:a:0", "0", "-disposition:a:1", "default", "-disposition:s:0", "forced"),
        *("-disposition:s:1", "0", folder / "rich.mkv"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film that is turned, with a second track of sound that nobody can decode."""
    folder = tmp_path_factory.mktemp("phone")
    halves = "color=white:s=64x48:r=25:d=0.4,drawbox=x=32:w=32:h=48:c=black:t=fill"
    plain = make(
        *("-f", "lavfi", "-i", halves, *TONE, *TONE, "-map", "0", "-map", "1", "-map", "2"),
        *("-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", folder / "plain.mov"),
    )
    turned = make("-display_rotation", "90", "-i", plain, "-map", "0", "-c", "copy",
                  folder / "turned.mov")  # fmt: skip
    return with_spatial_sound(turned)


def with_spatial_sound(path: Path) -> Path:
    """Rename the codec of the second track of sound to that of a phone's spatial sound."""
    data = path.read_bytes()
    place = data.index(b"mp4a", data.index(b"soun", data.index(b"soun") + 4))
    data = data[:place] + b"apac" + data[place + 4 :]
    described = data.index(b"wave", place)
    path.write_bytes(data[:described] + b"dapa" + data[described + 4 :])
    return path


# Sound, subtitles, chapters


@pytest.mark.parametrize("codec", ["hevc", "vp9"])
async def test_all_tracks_come_out_with_their_languages_titles_and_flags(
    codec: str, each_ffmpeg: Ffmpeg, rich: Path
) -> None:
    output, changes = await transcoded(each_ffmpeg, rich, codec)
    told = found(output)
    assert changes == []
    assert (told.tags["title"], told.chapters) == ("A film", 2)
    first, second = told.of_kind("audio")
    assert (first.language, second.language) == ("ger", "eng")
    assert (first.layout, second.layout) == ("mono", "5.1")
    assert "default" not in first.dispositions
    assert "default" in second.dispositions
    assert "Around" in {second.title, second.tags.get("handler_name")}
    forced, plain = told.of_kind("subtitle")
    assert {forced.codec, plain.codec} == {"webvtt" if codec == "vp9" else "mov_text"}
    assert (forced.language, "forced" in forced.dispositions) == ("fre", True)
    assert film_in(output).aspect in {(4, 3), (85, 64)}  # WebM has whole pixels only


@pytest.mark.parametrize("layout", ["3.0", "quad", "5.0", "6.1", "7.1"])
async def test_opus_keeps_the_channels(layout: str, each_ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    sound = ("-f", "lavfi", "-i", f"anoisesrc=d=0.4,aformat=channel_layouts={layout}")
    source = make(*CARD, *sound, "-c:v", "mpeg4", "-c:a", "flac", tmp_path / "source.mkv")
    output, changes = await transcoded(each_ffmpeg, source, "vp9")
    assert ([it.layout for it in found(output).of_kind("audio")], changes) == ([layout], [])


@pytest.mark.parametrize(("codec", "kept"), [("h264", "7.1"), ("vp9", "7.1"), ("ffv1", "")])
async def test_sixteen_channels_do_not_fail_a_job(
    codec: str, kept: str, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    sound = ("-f", "lavfi", "-i", "anoisesrc=d=0.4,aformat=channel_layouts=hexadecagonal")
    source = make(*CARD, *sound, "-c:v", "mpeg4", "-c:a", "pcm_s16le", tmp_path / "source.mkv")
    output, _ = await transcoded(each_ffmpeg, source, codec)
    [stream] = found(output).of_kind("audio")
    assert stream.channels == (8 if kept else 16)


async def test_sound_after_a_gap_stays_in_time(each_ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    gap = "sine=d=2,aselect='lt(t,0.5)+gt(t,1.5)'"
    card = ("-f", "lavfi", "-i", "testsrc2=s=64x64:r=25:d=2")
    source = make(*card, "-f", "lavfi", "-i", gap, "-c:v", "mpeg4", "-c:a", "pcm_s16le",
                  tmp_path / "source.mkv")  # fmt: skip
    output, _ = await transcoded(each_ffmpeg, source, "h264")
    sound = ran("-i", output, "-map", "0:a", "-ac", "1", "-ar", "1000", "-f", "u8", "-").stdout
    assert len(sound) > 1_900
    assert set(sound[700:1_300]) <= set(range(124, 133)), "silence where the gap was"


@pytest.mark.parametrize("codec", ["ffv1", "h264"])
async def test_subtitles_of_pictures_are_kept_or_named(
    codec: str, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    (tmp_path / "pictures.sup").write_bytes(pictures_as_subtitles())
    source = make(*CARD, "-i", tmp_path / "pictures.sup", "-map", "0", "-map", "1", "-c:v",
                  "mpeg4", "-c:s", "copy", tmp_path / "source.mkv")  # fmt: skip
    output, changes = await transcoded(each_ffmpeg, source, codec)
    kept = [stream.codec for stream in found(output).of_kind("subtitle")]
    if codec == "ffv1":
        assert (kept, changes) == (["hdmv_pgs_subtitle"], [])
    else:
        left_out = "subtitle stream 1: hdmv_pgs_subtitle has no place in mp4"
        assert (kept, changes) == ([], [left_out])


async def test_a_phones_film_comes_out_upright_without_the_track_that_none_can_decode(
    each_ffmpeg: Ffmpeg, phone: Path
) -> None:
    output, changes = await transcoded(each_ffmpeg, phone, "h264")
    film = film_in(output)
    assert (film.width, film.height) == (48, 64)
    assert not any("rotation" in line for line in film.side_data)
    above, below = grey(output, "scale=1:2")
    assert abs(above - below) > 100, "what was beside each other is above each other"
    assert len(found(output).of_kind("audio")) == 1
    assert [change for change in changes if change.startswith("audio stream 2: ")]


@pytest.mark.parametrize("pretends", [b"A_AAC", b"A_AC3", b"A_VORBIS"])
async def test_a_track_that_is_not_what_it_pretends_to_be_does_not_fail_a_job(
    pretends: bytes, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    plain = make(*CARD, *TONE, *TONE, "-map", "0", "-map", "1", "-map", "2", "-c:v", "mpeg4",
                 "-c:a:0", "aac", "-c:a:1", "libmp3lame", tmp_path / "plain.mkv")  # fmt: skip
    name = b"A_MPEG/L3"
    source = tmp_path / "source.mkv"
    source.write_bytes(plain.read_bytes().replace(name, pretends.ljust(len(name), b"\0")))
    output, changes = await transcoded(each_ffmpeg, source, "h264")
    assert len(found(output).of_kind("audio")) == 1
    assert changes[-1].startswith("audio stream 2: ")


async def test_sound_that_begins_late_is_no_noise(each_ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    card = ("-f", "lavfi", "-i", "testsrc2=s=64x64:r=5:d=13")
    late = ("-itsoffset", "12", "-f", "lavfi", "-i", "sine=d=1")
    source = make(*card, *late, "-map", "0", "-map", "1", "-c:v", "mpeg4", "-c:a", "flac",
                  tmp_path / "source.mkv")  # fmt: skip
    output, changes = await transcoded(each_ffmpeg, source, "mpeg4")
    assert (len(found(output).of_kind("audio")), changes) == (1, [])


async def test_a_track_that_is_left_out_may_outlast_the_film(
    each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    long = ("-f", "lavfi", "-i", "sine=d=3")
    plain = make(*CARD, *TONE, *long, "-map", "0", "-map", "1", "-map", "2", "-c:v", "mpeg4",
                 "-c:a:0", "aac", "-c:a:1", "libmp3lame", tmp_path / "plain.mkv")  # fmt: skip
    for pretends in (b"A_AAC", b"A_NOBODY"):
        source = tmp_path / "source.mkv"
        source.write_bytes(plain.read_bytes().replace(b"A_MPEG/L3", pretends.ljust(9, b"\0")))
        output, changes = await transcoded(each_ffmpeg, source, "h264")
        assert len(found(output).of_kind("audio")) == 1
        assert changes[-1].startswith("audio stream 2: ")


@pytest.mark.parametrize("codec", ["ffv1", "mpeg2", "vp9"])
async def test_a_film_that_was_cut_within_a_frame_of_sound_is_kept(
    codec: str, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    output, changes = await transcoded(each_ffmpeg, make_good("edit list", tmp_path), codec)
    assert (len(found(output).of_kind("audio")), changes) == (1, [])


# The picture


@pytest.mark.parametrize("codec", ["hevc", "vp9", "av1"])
async def test_hdr_is_kept_with_its_light(codec: str, each_ffmpeg: Ffmpeg, rich: Path) -> None:
    output, _ = await transcoded(each_ffmpeg, rich, codec)
    film = film_in(output)
    assert film.pixels == "yuv420p10le"
    assert film.colours == ("bt2020nc", "bt2020", "smpte2084")
    if codec == "vp9" and b"n5" in version_of(each_ffmpeg):
        pytest.skip("ffmpeg 5 has no way to tell VP9 of the light")
    report = ran("-i", output, "-map", "0:V", "-vf", "showinfo", "-frames:v", "1", "-f", "null",
                 "-").stderr.decode()  # fmt: skip
    assert "max_luminance=1000.0" in report
    assert "MaxCLL=1000, MaxFALL=400" in report


@pytest.mark.parametrize("codec", ["h264", "vp8"])
async def test_hdr_becomes_standard_where_there_are_8_bits(
    codec: str, each_ffmpeg: Ffmpeg, rich: Path
) -> None:
    output, changes = await transcoded(each_ffmpeg, rich, codec)
    film = film_in(output)
    assert (film.pixels, film.colours) == ("yuv420p", ("bt709",) * 3)
    assert changes[0] == "tone-mapped: HDR (smpte2084) became SDR"
    report = ran("-i", output, "-vf", "showinfo", "-frames:v", "1", "-f", "null", "-").stderr
    assert b"max_luminance" not in report


async def test_fields_become_frames(each_ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    card = ("-f", "lavfi", "-i", "testsrc2=s=64x64:r=50:d=0.4")
    source = make(*card, "-vf", "interlace", "-c:v", "mpeg2video", "-flags", "+ildct+ilme",
                  tmp_path / "source.ts")  # fmt: skip
    assert film_in(source).is_interlaced
    output, changes = await transcoded(each_ffmpeg, source, "h264")
    assert (film_in(output).is_interlaced, changes) == (False, ["deinterlaced"])
    assert len(times_in(output)) == len(times_in(source))


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "mpeg4"])
async def test_frames_of_different_lengths_keep_their_times(
    codec: str, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    card = ("-f", "lavfi", "-i", "testsrc2=s=64x64:r=30:d=2")
    lengths = "select='if(lt(t,1),1,not(mod(n,3)))'"
    source = make(*card, "-vf", lengths, "-fps_mode", "vfr", "-enc_time_base", "1:90000",
                  "-c:v", "libx264", tmp_path / "source.mp4")  # fmt: skip
    output, _ = await transcoded(each_ffmpeg, source, codec)
    before, after = times_in(source), times_in(output)
    assert len(after) == len(before) == 40
    assert max(abs(a - b) for a, b in zip(before, after, strict=True)) < 0.001


async def test_frames_of_the_same_time_do_not_fail_a_job(
    each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    card = ("-f", "lavfi", "-i", "testsrc2=s=64x64:r=2500:d=0.02")
    source = make(*card, "-fps_mode", "passthrough", "-c:v", "ffv1", tmp_path / "source.mkv")
    await transcoded(each_ffmpeg, source, "mpeg4")


@pytest.mark.parametrize("codec", ["vp8", "vp9"])
async def test_transparency_is_kept(codec: str, each_ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    clear = "testsrc2=s=64x64:r=25:d=0.4,format=yuva420p,colorchannelmixer=aa=0.5"
    source = make("-f", "lavfi", "-i", clear, "-c:v", "libvpx-vp9", "-pix_fmt",
                  "yuva420p", "-auto-alt-ref", "0",
                  tmp_path / "source.webm")  # fmt: skip
    output, changes = await transcoded(each_ffmpeg, source, codec)
    decoder = "libvpx" if codec == "vp8" else "libvpx-vp9"
    [alpha] = grey(output, "scale=1:1", "-c:v", decoder, alpha=True)
    assert (110 < alpha < 145, changes) == (True, [])


async def test_4_4_4_is_kept_by_hevc_and_vp9(each_ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    source = make(*CARD, "-c:v", "ffv1", "-pix_fmt", "yuv444p", tmp_path / "source.mkv")
    for codec in ("hevc", "vp9"):
        output, changes = await transcoded(each_ffmpeg, source, codec)
        assert (film_in(output).pixels, changes) == ("yuv444p", [])


async def test_the_last_row_and_column_of_an_odd_size_are_not_lost(
    each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    edge = "nullsrc=s=65x65:r=25:d=0.4,format=yuv444p,geq=235*gte(X\\,64):128:128"
    source = make("-f", "lavfi", "-i", edge, "-c:v", "ffv1", "-pix_fmt", "yuv444p",
                  tmp_path / "source.mkv")  # fmt: skip
    output, changes = await transcoded(each_ffmpeg, source, "h264")
    assert (film_in(output).width, film_in(output).height) == (66, 66)
    last = grey(output, "crop=2:1:64:32")
    assert min(last) > 180, "the edge and what was added to it are white"
    assert "padded to an even size from 65x65" in changes


async def test_vp8_has_the_bits_that_its_quality_needs(each_ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    noise = "nullsrc=s=320x240:r=25:d=0.4,geq=random(1)*255:128:128"
    source = make("-f", "lavfi", "-i", noise, "-c:v", "ffv1", tmp_path / "source.mkv")
    output, _ = await transcoded(each_ffmpeg, source, "vp8")
    assert output.stat().st_size * 8 / 0.4 > 4_000_000


async def test_a_shape_that_mpeg_2_has_no_number_for_is_kept(
    each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    source = make(*CARD, "-vf", "setsar=3/2", "-c:v", "ffv1", tmp_path / "source.mkv")
    output, _ = await transcoded(each_ffmpeg, source, "mpeg2")
    film = film_in(output)
    wide, high = film.aspect
    assert abs(film.width * wide / (film.height * high) - 1.5) < 0.02


# Verification


@pytest.mark.parametrize("codec", ["h264", "vp8", "mpeg2"])
async def test_what_is_changed_or_left_out_is_nothing_missing(
    codec: str, each_ffmpeg: Ffmpeg, rich: Path, phone: Path, tmp_path: Path
) -> None:
    checked = each_ffmpeg._replace(checks=Checks(verify="full", pyav=find_pyav()))
    card = ("-f", "lavfi", "-i", "testsrc2=s=64x64:r=50:d=1")
    fields = make(*card, "-vf", "interlace", "-c:v", "mpeg2video", "-flags", "+ildct+ilme",
                  tmp_path / "fields.ts")  # fmt: skip
    for source in (rich, phone, fields, make_good("variable frame rate", tmp_path)):
        await transcoded(checked, source, codec)


# What is no film


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("still.gif", "the source is a still picture"),
        ("still.jpg", "its format, such as a picture, a playlist or a text, is not read"),
        ("still.png", "its format, such as a picture, a playlist or a text, is not read"),
        ("empty.mp4", "the source is no media file"),
        ("page.mp4", "the source is no media file"),
    ],
)
async def test_what_is_no_film_fails_at_once_in_one_sentence(
    name: str, sentence: str, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    source = tmp_path / name
    if name.startswith("still"):
        make(*CARD, "-frames:v", "1", "-update", "1", source)
    else:
        source.write_text("<!DOCTYPE html><title>Not found</title>" if name == "page.mp4" else "")
    with pytest.raises(FfmpegError) as told:
        await transcoded(each_ffmpeg, source, "h264")
    assert (str(told.value), told.value.cause) == (f"no video stream: {sentence}", "source_bad")


async def test_a_picture_that_stands_first_is_not_taken_for_the_film(
    each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    picture = make(*CARD, "-frames:v", "1", "-update", "1", tmp_path / "picture.png")
    source = make("-i", picture, *CARD, "-map", "0", "-map", "1", "-c:v:0", "copy", "-c:v:1",
                  "mpeg4", tmp_path / "source.mkv")  # fmt: skip
    output, changes = await transcoded(each_ffmpeg, source, "h264")
    assert len(times_in(output)) == 10
    assert changes == ["video stream 0: it is not the first film"]


def version_of(ffmpeg: Ffmpeg) -> bytes:
    told = subprocess.run([ffmpeg.path, "-version"], capture_output=True, check=True, timeout=60)
    return b"n" + told.stdout.split()[2].removeprefix(b"n")


def pictures_as_subtitles() -> bytes:
    """Return one subtitle as Blu-rays have it: a bar that is shown and then taken away."""

    def segment(time: int, kind: int, body: bytes) -> bytes:
        return b"PG" + struct.pack(">IIBH", time, 0, kind, len(body)) + body

    def shown(number: int, state: int, *bars: bytes) -> bytes:
        return struct.pack(">HHBHBBBB", 64, 64, 16, number, state, 0, 0, len(bars)) + b"".join(bars)

    window = struct.pack(">BBHHHH", 1, 0, 8, 30, 16, 4)
    rows = (b"\x01" * 16 + b"\0\0") * 4
    bar = struct.pack(">HBB", 0, 0, 0xC0) + (len(rows) + 4).to_bytes(3, "big")
    colours = bytes([0, 0, 1, 235, 128, 128, 255])
    begun = [(0x16, shown(0, 0x80, struct.pack(">HBBHH", 0, 0, 0, 8, 30))), (0x17, window)]
    begun += [(0x14, colours), (0x15, bar + struct.pack(">HH", 16, 4) + rows), (0x80, b"")]
    ended = [(0x16, shown(1, 0)), (0x17, window), (0x80, b"")]
    return b"".join(segment(9_000, *it) for it in begun) + b"".join(
        segment(27_000, *it) for it in ended
    )


@pytest.mark.parametrize("size", ["16x16", "48x96", "96x34"])
async def test_a_film_that_is_too_small_for_an_encoder_gets_another_one(
    size: str, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    card = ("-f", "lavfi", "-i", f"testsrc2=s={size}:r=25:d=0.2")
    source = make(*card, "-c:v", "ffv1", tmp_path / "small.mkv")
    output, _ = await transcoded(each_ffmpeg, source, "av1")
    film = film_in(output)
    assert (film.codec, f"{film.width}x{film.height}") == ("av1", size)


# The three films of docs/media.md, which compares what others keep of such


async def test_of_a_phones_hdr_film_all_is_kept_but_the_spatial_sound(
    each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    bright = "setparams=color_primaries=bt2020:color_trc=arib-std-b67:colorspace=bt2020nc:range=tv"
    card = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=30:d=0.5")
    plain = make(
        *(*card, *TONE, *TONE, "-map", "0", "-map", "1", "-map", "2"),
        *("-vf", f"format=yuv420p10le,{bright}", "-c:v", "libx265", "-x265-params"),
        *("log-level=error", "-tag:v", "hvc1", "-c:a", "aac", tmp_path / "plain.mov"),
    )
    clip = with_spatial_sound(
        make("-display_rotation", "90", "-i", plain, "-map", "0", "-c", "copy",
             tmp_path / "clip.mov")
    )  # fmt: skip
    output, changes = await transcoded(each_ffmpeg, clip, "hevc")
    film = film_in(output)
    assert (film.pixels, film.colours) == ("yuv420p10le", ("bt2020nc", "bt2020", "arib-std-b67"))
    assert (film.width, film.height) == (64, 96), "upright"
    assert [stream.codec for stream in found(output).of_kind("audio")] == ["aac"]
    assert changes[0].removesuffix(" can't be decoded") in {
        "audio stream 2: apac",
        "audio stream 2: apple_apac",
    }
    assert len(changes) == 1
    output, changes = await transcoded(each_ffmpeg, clip, "h264")
    assert (film_in(output).pixels, film_in(output).transfer) == ("yuv420p", "bt709")
    assert changes[0] == "tone-mapped: HDR (arib-std-b67) became SDR"


async def test_of_a_broadcast_both_languages_are_kept_and_fields_become_frames(
    each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    fields = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=50:d=0.6")
    source = make(
        *(*fields, *TONE, *TONE, "-map", "0", "-map", "1", "-map", "2"),
        *("-vf", "interlace,setsar=16/11", "-c:v", "mpeg2video", "-flags", "+ildct+ilme"),
        *("-c:a", "mp2", "-metadata:s:a:0", "language=ger", "-metadata:s:a:1", "language=eng"),
        tmp_path / "broadcast.ts",
    )
    output, changes = await transcoded(each_ffmpeg, source, "h264")
    film = film_in(output)
    assert (film.is_interlaced, film.fps, film.aspect) == (False, 25.0, film_in(source).aspect)
    sounds = found(output).of_kind("audio")
    assert [(it.codec, it.language) for it in sounds] == [("aac", "ger"), ("aac", "eng")]
    assert changes == ["deinterlaced"]


@pytest.mark.parametrize(
    ("codec", "sound", "subtitles", "left_out"),
    [
        ("h264", "aac", ["mov_text"], "hdmv_pgs_subtitle has no place in mp4"),
        ("vp9", "opus", ["webvtt"], "hdmv_pgs_subtitle has no place in webm"),
        ("ffv1", "flac", ["subrip", "hdmv_pgs_subtitle"], ""),
    ],
)
async def test_of_a_film_for_the_home_all_channels_and_what_the_container_holds_is_kept(
    codec: str, sound: str, subtitles: list[str], left_out: str, each_ffmpeg: Ffmpeg,
    tmp_path: Path,
) -> None:  # fmt: skip
    (tmp_path / "pictures.sup").write_bytes(pictures_as_subtitles())
    (tmp_path / "text.srt").write_text(SUBTITLE)
    around = ("-f", "lavfi", "-i", "anoisesrc=d=0.4,aformat=channel_layouts=7.1")
    source = make(
        *(*CARD, *around, "-i", tmp_path / "text.srt", "-i", tmp_path / "pictures.sup"),
        *("-map", "0", "-map", "1", "-map", "2", "-map", "3"),
        *("-c:v", "libx264", "-c:a", "flac", "-c:s:0", "srt", "-c:s:1", "copy"),
        *("-metadata:s:s:0", "language=fre", "-metadata:s:s:1", "language=eng"),
        tmp_path / "film.mkv",
    )
    output, changes = await transcoded(each_ffmpeg, source, codec)
    told = found(output)
    assert [(it.codec, it.layout) for it in told.of_kind("audio")] == [(sound, "7.1")]
    assert [it.codec for it in told.of_kind("subtitle")] == subtitles
    assert told.of_kind("subtitle")[0].language == "fre"
    assert changes == ([f"subtitle stream 3 (eng): {left_out}"] if left_out else [])
