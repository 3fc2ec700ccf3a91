"""What a source may be: the films of professionals, and nothing that only looks like one."""

import struct
import subprocess
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from dispatcher.engine import transcoding
from dispatcher.engine.demuxers import media_demuxers
from dispatcher.engine.ffmpeg import Ffmpeg, FfmpegError, FfmpegLimitError, find_ffmpeg
from tests.support.engines import ANYWHERE
from tests.support.media import Clips, found_in, playlist_of
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine

pytest_plugins = ["tests.support.engine_fixtures"]

FILMS: Final = {
    **dict.fromkeys(("mov", "mp4", "matroska", "flv"), "-c:v libx264"),
    "3gp": "-c:v mpeg4 -c:a aac",
    **dict.fromkeys(("avi", "asf", "nut", "m4v"), "-c:v mpeg4"),
    **dict.fromkeys(("mpegts", "mpeg", "vob", "mpeg2video", "wtv"), "-c:v mpeg2video"),
    "mxf": "-c:v mpeg2video -ar 48000",
    "webm": "-c:v libvpx -c:a libvorbis",
    "ogg": "-c:v libtheora -c:a libvorbis",
    "ivf": "-c:v libvpx",
    "obu": "-c:v libaom-av1 -cpu-used 8",
    "h264": "-c:v libx264",
    "hevc": "-c:v libx265",
    "mjpeg": "-c:v mjpeg -pix_fmt yuvj420p",
    "dnxhd": "-c:v dnxhd -profile:v dnxhr_lb -s 256x128 -pix_fmt yuv422p",
    "yuv4mpegpipe": "-pix_fmt yuv420p",
    "gif": "",
    "apng": "",
    "dv": "-s 720x576 -pix_fmt yuv420p -r 25 -ar 48000 -ac 2",
    "gxf": "-c:v mpeg2video -s 720x576 -pix_fmt yuv420p -ar 48000 -ac 1 -r 25",
}
"""Muxers, with what makes a film of them."""
VIDEO_ONLY: Final = {
    *("m4v", "mpeg2video", "ivf", "obu", "h264", "hevc", "mjpeg", "dnxhd", "yuv4mpegpipe"),
    *("gif", "apng"),
}
NO_FILMS: Final = {
    "notes.txt": "password: correct horse battery staple\n" * 50,
    "art.ans": "\x1b[31mpassword\x1b[0m\r\n" * 50,
    "readme.nfo": "password\r\n" * 50,
    "art.diz": "password\r\n" * 50,
    "titles.srt": "1\n00:00:00,000 --> 00:00:09,000\npassword\n",
    "titles.ass": "[Script Info]\n[Events]\nDialogue: 0,0:00:00.00,0:00:09.00,Default,,0,0,0,,p\n",
    "titles.vtt": "WEBVTT\n\n00:00.000 --> 00:09.000\npassword\n",
    "titles.smi": "<SAMI><BODY><SYNC Start=0>password</BODY></SAMI>\n",
    "data.ffmeta": ";FFMETADATA1\ntitle=password\n",
    "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "picture.svg": '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "picture.ppm": "P3\n2 2\n255\n" + "9 " * 12,
    "picture.xpm": '/* XPM */\nstatic char *x[] = {\n"1 1 1 1",\n"a c #FFFFFF",\n"a"};\n',
    "script.avs": "Version()\n",
    "list.ffconcat": "ffconcat version 1.0\nfile '{clip}'\n",
    "list.m3u8": playlist_of("{uri}"),
    "list.mpd": '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    "<Representation><BaseURL>{uri}</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "movie.imf": '<CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"/>',
    "raw.yuv": "\x80" * 6144,
}


def make(*arguments: str | Path) -> None:
    subprocess.run(
        [find_ffmpeg(), "-nostdin", "-v", "error", "-y", *arguments], check=True, timeout=60
    )


async def transcode(ffmpeg: Ffmpeg, source: Path, output: Path) -> None:
    with TemporaryDirectory(dir=output.parent) as folder:
        opening = ANYWHERE.opened(source.as_uri(), 1, Path(folder), streams=True)
        async with opening as opened:
            await transcoding.transcode(ffmpeg, opened, "mpeg4", Path(folder, output.name))
        Path(folder, output.name).rename(output)


# Films


@pytest.mark.anyio
@pytest.mark.parametrize("muxer", FILMS)
async def test_films_are_read_whatever_they_are_in(
    muxer: str, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    film = tmp_path / "film"  # without a suffix, which would help
    sound = () if muxer in VIDEO_ONLY else ("-f", "lavfi", "-i", "sine=d=1")
    picture = ("-f", "lavfi", "-i", "testsrc=s=176x144:r=25:d=1")
    make(*picture, *sound, *FILMS[muxer].split(), "-f", muxer, film)
    await transcode(ffmpeg, film, tmp_path / "output")
    assert found_in(tmp_path / "output").video == "mpeg4"


@pytest.mark.anyio
@pytest.mark.parametrize("muxer", ["wav", "aiff", "flac", "mp3", "adts", "ac3", "eac3", "caf"])
async def test_sound_is_read_and_is_no_film(muxer: str, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    make("-f", "lavfi", "-i", "sine=d=1", "-f", muxer, tmp_path / "sound")
    with pytest.raises(FfmpegError, match="no video stream: the source has sound only"):
        await transcode(ffmpeg, tmp_path / "sound", tmp_path / "output")


# Not films


@pytest.mark.anyio
@pytest.mark.parametrize("name", NO_FILMS)
async def test_what_is_no_film_does_not_become_one(
    name: str, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    text = NO_FILMS[name].replace("{clip}", str(clips.plain)).replace("{uri}", clips.plain.as_uri())
    for source in (tmp_path / name, tmp_path / "film.mp4"):
        source.write_text(text)
        with pytest.raises(FfmpegError) as told:
            await transcode(ffmpeg, source, tmp_path / "output")
        assert "password" not in str(told.value)
    assert not (tmp_path / "output").exists()


@pytest.mark.anyio
@pytest.mark.parametrize("muxer", ["image2", "image2pipe"])
async def test_pictures_are_no_film(muxer: str, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    for suffix in ("png", "bmp", "tiff"):
        picture = tmp_path / f"picture1.{suffix}"
        codec = ("-f", muxer, "-c:v", suffix, "-frames:v", "1", "-update", "1")
        make("-f", "lavfi", "-i", "testsrc=s=96x64", *codec[: 6 if muxer == "image2pipe" else 8],
             picture)  # fmt: skip
        with pytest.raises(FfmpegError):
            await transcode(ffmpeg, picture, tmp_path / "output")


@pytest.mark.anyio
async def test_a_pattern_of_names_is_one_name(ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    make("-f", "lavfi", "-i", "testsrc=s=96x64:d=1", tmp_path / "picture%03d.png")
    (tmp_path / "picture%03d.png").touch()
    with pytest.raises(FfmpegError):
        await transcode(ffmpeg, tmp_path / "picture%03d.png", tmp_path / "output")


@pytest.mark.parametrize("playlists", [True, False])
def test_what_is_unknown_is_not_listed(playlists: bool) -> None:
    known = ["mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "tty", "concat", "lavfi", "x11grab", "hls"]
    found = media_demuxers([*known, "invented_tomorrow"], playlists=playlists)
    assert set(found) == {"mov", "mp4", "3gp", "matroska", "webm"} | (
        {"hls"} if playlists else set()
    )


@pytest.mark.anyio
@pytest.mark.parametrize("playlists", [True, False])
async def test_of_this_ffmpeg_nothing_is_listed_that_reads_more_than_its_file(
    playlists: bool, ffmpeg: Ffmpeg
) -> None:
    listed = set(media_demuxers(ffmpeg.demuxers, playlists=playlists))
    assert {"mov", "matroska", "mpegts", "mpeg", "avi", "mxf", "flv", "ogg"} <= listed
    assert not listed & {
        *("concat", "imf", "image2", "image2pipe", "sdp", "rtsp", "rtp", "sap", "avisynth"),
        *("vapoursynth", "tty", "lavfi", "webm_dash_manifest", "live_flv", "tedcaptions"),
        *("bin", "xbin", "adf", "idf", "libgme", "libopenmpt", "rawvideo", "vobsub", "dvdvideo"),
    }
    assert bool(listed & {"hls", "dash"}) == playlists
    assert {name for name in listed if name.endswith("_pipe")} <= {"jpeg_pipe", "j2k_pipe"}


# Pictures that are too large


def bomb(side: int) -> bytes:
    """Write a PNG of one colour, which takes a thousandth of the memory of its picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)  # one bit a pixel
    lines = zlib.compress(bytes(1 + side // 8) * side, 9)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", lines), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.anyio
async def test_a_picture_bomb_in_a_film_is_not_decoded(ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(2 * bomb(16_000))
    source = tmp_path / "bomb.mkv"
    make("-f", "png_pipe", "-i", tmp_path / "bomb.png", "-c", "copy", source)
    assert source.stat().st_size < 100_000
    with pytest.raises(FfmpegLimitError, match="--max-megapixels 40") as told:
        await transcode(ffmpeg, source, tmp_path / "output")
    assert told.value.cause == "source_bad"


@pytest.mark.anyio
async def test_the_bound_of_pixels_is_the_operators(
    ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    limits = ffmpeg.sandbox.limits
    for megapixels, fits in ((96 * 64 / 1e6 * 2, True), (0.001, False)):
        sandbox = ffmpeg.sandbox._replace(limits=type(limits)(megapixels=megapixels))
        bounded = ffmpeg._replace(sandbox=sandbox)
        if fits:
            await transcode(bounded, clips.plain, tmp_path / "output")
        else:
            with pytest.raises(FfmpegLimitError, match=r"--max-megapixels 0\.001"):
                await transcode(bounded, clips.plain, tmp_path / "other")
