"""Encoders of hardware: their arguments, which are chosen, and what they may use.

No test needs the hardware. A script stands in for an ffmpeg that has it: it encodes by software.
"""

import logging
from pathlib import Path
from typing import Any, Final

import pytest

from dispatcher.cli.engine_notices import tell_of_hardware
from dispatcher.engine.codecs import CODECS, Codec, Encoder, Target
from dispatcher.engine.encoding import Abilities, encoding_of
from dispatcher.engine.ffmpeg import Ffmpeg, FfmpegMissingError, Input
from dispatcher.engine.hardware import HwAccel, candidates
from dispatcher.engine.sandbox import Access, FfmpegLimits, Sandbox
from dispatcher.engine.sources import FILE_PROTOCOLS
from dispatcher.engine.streams import Source, Stream
from dispatcher.engine.transcoding import transcode
from dispatcher.recipes import recipe_of
from tests.support.engines import program
from tests.support.media import FFMPEG, Clips, found_in
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine

pytest_plugins = ["tests.support.engine_fixtures"]

KINDS: Final = ("nvenc", "qsv", "vaapi", "videotoolbox", "amf")
ALL: Final = frozenset(
    f"{codec}_{kind}" for codec in ("h264", "hevc", "av1", "vp9") for kind in KINDS
)
ABLE: Final = Abilities(frozenset({"zscale", "tonemap"}), frozenset({"h264", "hevc", "aac"}))
PLAIN: Final = Stream(index=0, kind="video", codec="h264", pixels="yuv420p", width=640, height=360,
                      fps=25)  # fmt: skip
PQ: Final = ("bt2020nc", "bt2020", "smpte2084")
DEEP: Final = Stream(index=0, kind="video", codec="hevc", pixels="yuv420p10le", width=640,
                     height=360, fps=25, colours=PQ)  # fmt: skip


def row(name: str) -> Codec:
    return next(it for it in CODECS if name in it.names)


def machine(root: Path) -> Path:
    """Make files that are named as those of devices are."""
    for name in ("dri/renderD128", "dri/card0", "nvidiactl", "nvidia0", "nvidia-uvm"):
        (root / "dev" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "dev" / name).touch()
    return root


def encoder(name: str, root: Path) -> Encoder:
    codec, _, kind = name.partition("_")
    accel: Any = kind
    return next(iter(candidates(row(codec), accel, frozenset({name}), root)))


def arguments(name: str, root: Path, film: Stream = PLAIN, **recipe: Any) -> str:
    target = Target(row(name.partition("_")[0]), encoder(name, root), recipe_of(recipe))
    made = encoding_of(Source(demuxer="mov", streams=(film,)), film, target, ABLE)
    return " ".join(made.options).partition(" -metadata")[0].removeprefix("-map 0:0 ")


# The arguments


VAAPI: Final = "-init_hw_device vaapi=gpu:{node} -filter_hw_device gpu"
QSV: Final = "-init_hw_device qsv=gpu:hw,child_device={node} -filter_hw_device gpu"
MADE: Final = {
    "h264_nvenc": "-c:v:0 {name} -rc vbr -b:v 0 -cq 23 -preset p5 -tune hq {filters}",
    "h264_qsv": f"{QSV} -c:v:0 {{name}} -global_quality 23 -preset medium {{filters}}",
    "h264_vaapi": f"{VAAPI} -c:v:0 {{name}} -rc_mode CQP -qp 23 {{filters}},hwupload",
    "h264_videotoolbox": "-c:v:0 {name} -q:v 65 {filters}",
    "h264_amf": "-c:v:0 {name} -rc cqp -qp_i 23 -qp_p 23 -qp_b 23 -quality balanced {filters}",
    "vp9_vaapi": f"{VAAPI} -c:v:0 {{name}} -rc_mode CQP -global_quality 100 {{filters}},hwupload",
    "av1_nvenc": "-c:v:0 {name} -rc vbr -b:v 0 -cq 32 -preset p5 -tune hq {filters}",
    "av1_amf": "-c:v:0 {name} -rc cqp -qp_i 100 -qp_p 100 -quality balanced {filters}",
}


@pytest.mark.parametrize("name", MADE)
def test_the_arguments_of_each_kind(name: str, tmp_path: Path) -> None:
    node = tmp_path / "dev/dri/renderD128"
    filters = "-filter:v:0 format=nv12"
    made = MADE[name].format(name=name, node=node, filters=filters)
    assert arguments(name, machine(tmp_path)) == made


def test_10_bits_go_to_an_encoder_that_has_them_and_light_is_kept(tmp_path: Path) -> None:
    assert "format=p010le,hwupload" in arguments("hevc_vaapi", machine(tmp_path), DEEP)


def test_an_encoder_of_8_bits_gets_standard_light(tmp_path: Path) -> None:
    assert "tonemap" in arguments("h264_nvenc", tmp_path, DEEP)


@pytest.mark.parametrize(
    ("name", "recipe", "made"),
    [
        ("h264_nvenc", {"bitrate": "4M"},
         "-rc vbr -b:v 4000000 -maxrate 6000000 -bufsize 12000000"),
        ("h264_vaapi", {"bitrate": "4M"},
         "-rc_mode VBR -b:v 4000000 -maxrate 6000000 -bufsize 12000000"),
        ("hevc_videotoolbox", {"bitrate": "4M"}, "-b:v 4000000"),
        ("hevc_amf", {"bitrate": "4M"}, "-rc vbr_peak -b:v 4000000"),
        ("hevc_nvenc", {"speed": "slowest"}, "-preset p7"),
        ("hevc_qsv", {"speed": "fastest"}, "-preset veryfast"),
        ("hevc_amf", {"speed": "slowest"}, "-quality quality"),
        ("h264_qsv", {"quality": 93}, "-global_quality 23"),
        ("h264_vaapi", {"quality": 60}, "-qp 38"),
        ("h264_videotoolbox", {"quality": 85}, "-q:v 50"),
    ],
)  # fmt: skip
def test_what_a_recipe_asks_is_told_in_each_ones_own_terms(
    name: str, recipe: dict[str, Any], made: str, tmp_path: Path
) -> None:
    assert made in arguments(name, machine(tmp_path), **recipe)


@pytest.mark.parametrize("name", ["h264_nvenc", "hevc_qsv", "hevc_vaapi"])
def test_a_crf_becomes_the_number_of_the_same_quality(name: str, tmp_path: Path) -> None:
    better = arguments(name, machine(tmp_path), crf=18)
    worse = arguments(name, machine(tmp_path), crf=35)
    numbers = [
        float(next(word for word in text.split() if word.isdigit() and word != "0"))
        for text in (better, worse)
    ]
    assert numbers[0] < numbers[1]


# Which is tried


@pytest.mark.parametrize(
    ("hwaccel", "tried"),
    [
        ("none", ["libx264", "libopenh264"]),
        ("auto", ["h264_nvenc", "h264_qsv", "h264_vaapi", "h264_videotoolbox", "h264_amf",
                  "libx264", "libopenh264"]),
        ("vaapi", ["h264_vaapi", "libx264", "libopenh264"]),
    ],
)  # fmt: skip
def test_hardware_comes_before_software_if_it_is_wanted(hwaccel: HwAccel, tried: list[str]) -> None:
    assert [it.name for it in candidates(row("h264"), hwaccel, ALL)] == tried


def test_what_an_ffmpeg_does_not_list_is_not_tried() -> None:
    listed = frozenset({"h264_qsv"})
    found = [it.name for it in candidates(row("h264"), "auto", listed)]
    assert found == ["h264_qsv", "libx264", "libopenh264"]


def test_a_codec_without_hardware_is_encoded_as_ever() -> None:
    assert [*candidates(row("ffv1"), "auto", ALL)] == [*row("ffv1").encoders]


# What it may use


def test_only_an_encode_by_hardware_reaches_its_device(tmp_path: Path) -> None:
    root = machine(tmp_path)
    sandbox = Sandbox(FfmpegLimits(1_000), landlock=5, readable=("/usr",))

    def written(access: Access) -> list[str]:
        around = sandbox.around(["/usr/bin/ffmpeg"], access)
        return [it for it in around if it.startswith("write=")]

    folder = Access(folder=tmp_path)
    assert written(folder) == [f"write={tmp_path}"]
    vaapi = folder.to(encoder("h264_vaapi", root).device)
    assert f"write={root}/dev/dri/renderD128" in written(vaapi)
    assert not any("nvidia" in it for it in written(vaapi))
    nvenc = folder.to(encoder("h264_nvenc", root).device)
    assert f"write={root}/dev/nvidia0" in written(nvenc)
    assert not any("/dri/" in it for it in written(nvenc))
    assert written(folder.to(row("h264").encoders[0].device)) == written(folder)


# The probe and the choice

AS_SOFTWARE: Final = (
    "for word; do",
    "  shift",
    '  case "$word" in',
    "    hevc_nvenc) exit 1;;",
    "    h264_nvenc) word=libx264;;",
    "    format=nv12) word=format=yuv420p;;",
    "    format=p010le) exit 1;;",
    "    p[1-7]) word=ultrafast;;",
    "    hq) word=fastdecode;;",
    "  esac",
    '  set -- "$@" "$word"',
    "done",
)


@pytest.fixture(scope="module")
def pretended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ffmpeg whose h264_nvenc works, and whose other hardware does not."""
    return program(tmp_path_factory.mktemp("bin") / "ffmpeg", *AS_SOFTWARE, then=FFMPEG)


@pytest.mark.anyio
async def test_hardware_that_works_is_taken_and_the_rest_is_done_by_software(
    pretended: Path, clips: Clips, tmp_path: Path
) -> None:
    probed = await Ffmpeg.probe(pretended, hwaccel="auto")
    names = {codec: encoder.name for codec, (_, encoder) in probed.encoders.items()}
    assert names["h264"] == "h264_nvenc"
    assert names["hevc"] == "libx265"
    result = await transcode(
        probed, Input(f"file:{clips.plain}", FILE_PROTOCOLS), "h264", tmp_path / "output"
    )
    assert result.encoder == "h264_nvenc"
    assert "encoded with nvenc, the machine's hardware" in result.warnings
    assert found_in(tmp_path / "output").video == "h264"


@pytest.mark.parametrize(
    ("offered", "told"),
    [
        ("libx264", "software encodes everything: --hwaccel auto found no hardware"),
        ("h264_nvenc", "hardware encodes by h264_nvenc; software does the other codecs"),
    ],
)
def test_the_log_tells_whether_hardware_or_software_encodes(
    offered: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    encoders = {name: (row(name), row(name).encoders[0]) for name in ("h264", "vp9")}
    encoders["h264"] = row("h264"), next(
        it for it in candidates(row("h264"), "auto", frozenset({"h264_nvenc"}))
        if it.name == offered
    )  # fmt: skip
    with caplog.at_level(logging.INFO):
        tell_of_hardware(encoders, "none", "engine")
        assert caplog.messages == []
        tell_of_hardware(encoders, "auto", "engine")
    [message] = caplog.messages
    assert message.startswith(f"engine: {told}")


@pytest.mark.anyio
async def test_hardware_is_not_used_unless_it_is_asked_for(pretended: Path) -> None:
    probed = await Ffmpeg.probe(pretended)
    assert probed.encoders["h264"][1].name == "libx264"


@pytest.mark.anyio
async def test_hardware_that_is_named_and_does_not_work_is_an_error_that_says_what_to_do(
    pretended: Path,
) -> None:
    with pytest.raises(FfmpegMissingError, match=r"--hwaccel qsv: .* could encode nothing by it"):
        await Ffmpeg.probe(pretended, hwaccel="qsv")


@pytest.mark.anyio
async def test_without_hardware_auto_is_as_none(ffmpeg: Ffmpeg) -> None:
    auto = await Ffmpeg.probe(FFMPEG, hwaccel="auto")
    assert dict(auto.encoders) == dict(ffmpeg.encoders)


@pytest.mark.anyio
async def test_a_score_is_searched_by_the_numbers_of_the_hardware(
    pretended: Path, clips: Clips, tmp_path: Path
) -> None:
    probed = await Ffmpeg.probe(pretended, hwaccel="nvenc")
    result = await transcode(
        probed,
        Input(f"file:{clips.plain}", FILE_PROTOCOLS),
        "h264",
        tmp_path / "output",
        recipe=recipe_of({"vmaf": 90}),
    )
    assert result.encoder == "h264_nvenc"
    assert result.vmaf is not None
