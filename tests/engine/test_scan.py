"""What the lines of ffmpeg's packet scan and of its messages mean."""

from typing import Final

import pytest

from dispatcher.engine.ffmpeg_errors import VerificationError
from dispatcher.engine.messages import Messages
from dispatcher.engine.scan import PacketScan
from dispatcher.engine.verification import (
    Frames,
    check_source,
    film_among,
    remarks_on,
    scanned_of,
)

HEAD: Final = ("#software: Lavf", "#tb 0: 1/1000", "#media_type 0: video", "#codec_id 0: h264")


def scanned(*lines: str) -> PacketScan:
    scan = PacketScan()
    for line in (*HEAD, *lines):
        scan.read(line)
    return scan


def said(*lines: str) -> Messages:
    messages = Messages()
    for line in lines:
        messages.read(line)
    return messages


def listing(length: str = "00:00:04.00", start: str = "0.000000", form: str = "mov,mp4") -> str:
    return f"[info] Input #0, {form}, from 'x':\n[info]   Duration: {length}, start: {start}, x"


# The scan


def test_packets_come_in_the_order_of_decoding() -> None:
    scan = scanned(
        "0, -40, 0, 40, 9, 0x1",
        "0, 0, 120, 40, 9, 0x1, F=0x0",
        "0, 40, 40, 40, 9, 0x1, F=0x0, S=1, Skip Samples, 10, 0x05aa00f2",
    )
    track = scan.tracks[0]
    assert (track.kind, track.packets, track.first_s) == ("video", 3, 0.0)
    assert (track.last_s, track.end_s, scan.end_s) == (0.12, 0.16, 0.16)
    assert track.gap_s == 0.0


def test_a_gap_is_the_time_between_two_packets() -> None:
    track = scanned("0, 0, 0, 40, 9, 0x1", "0, 900, 900, 40, 9, 0x1, F=0x2").tracks[0]
    assert track.gap_s == pytest.approx(0.86)
    assert track.corrupt == 1


def test_packets_that_are_not_to_be_shown_do_not_count_for_the_end() -> None:
    assert scanned("0, 0, 0, 40, 9, 0x1", "0, 40, 40, 40, 9, 0x1, F=0x5").end_s == 0.04


@pytest.mark.parametrize("missing", ["-9223372036854775808", "NOPTS"])
def test_packets_without_a_time_are_no_ends(missing: str) -> None:
    assert scanned("0, 0, 0, 40, 9, 0x1", f"0, {missing}, {missing}, 40, 9, 0x1").end_s == 0.04


def test_what_is_no_packet_is_ignored() -> None:
    assert scanned("", "#", "# 0", "0, 1", "rubbish", "#tb 1: 1/0", "#tb x: 1/2").end_s == 0.0


# What ffmpeg says


def test_the_texts_of_a_source_are_no_faults() -> None:
    messages = said(
        "[info]     title           : File ended prematurely",
        "[info]     comment         : Connection reset, Packet corrupt",
    )
    assert (messages.fault, messages.damaged, messages.errors) == (None, 0, 0)


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("[mov,mp4 @ 0x55aa0329e2c0] [error] stream 0, offset 0x6f87: partial file", "source_bad"),
        ("[in#0/matroska,webm @ 0x55c40104fb80] [error] File ended prematurely", "source_bad"),
        ("[hls @ 0x55] [warning] Failed to open segment 2 of playlist 0", "source_away"),
        ("[http @ 0x5] [error] Stream ends prematurely at 5, should be 9", "source_away"),
        ("[tcp @ 0x5] [in#0 @ 0x6] [error] Connection reset by peer", "source_away"),
        ("[error] av_interleaved_write_frame(): No space left on device", "engine"),
    ],
)
def test_some_lines_are_faults_whatever_the_exit_status_is(line: str, cause: str) -> None:
    fault = said(line).fault
    assert fault is not None
    assert fault.cause == cause


def test_an_answer_without_a_length_does_not_end_prematurely() -> None:
    line = "[http @ 0x5] [error] Stream ends prematurely at 5, should be 18446744073709551615"
    assert said(line).fault is None


def test_the_streams_of_outputs_are_not_those_of_the_source() -> None:
    messages = said(
        "[info]   Stream #0:0[0x1](und): Video: mjpeg, 64x48 (attached pic)",
        "[info]   Stream #0:3: Video: h264 (High), yuv420p, 64x48",
        "[info] Stream mapping:",
        "[info]   Stream #0:3 -> #0:0 (h264 (native) -> mpeg4 (native))",
        "[info]   Stream #0:3 -> #1:0 (copy)",
        "[info] Output #0, mp4, to 'x':",
        "[info]   Stream #0:7: Video: mpeg4, yuv420p, 64x48",
    )
    assert [(it.stream, it.is_cover) for it in messages.videos.values()] == [(0, True), (3, False)]
    assert messages.mapped == [(3, 0, 0), (3, 1, 0)]


def test_what_ffmpeg_knows_too_little_of_is_not_scanned() -> None:
    listed = said(
        "[info] Input #0, mpegts, from 'x':",
        "[info]   Stream #0:0[0x100]: Video: hevc ([36][0][0][0] / 0x0024), none",
        "[info]   Stream #0:1[0x101](und): Video: h264 ([27][0][0][0] / 0x001B), yuv420p, 64x48",
        "[info]   Stream #0:2[0x102]: Audio: aac ([15][0][0][0] / 0x000F), 0 channels",
        "[info]   Stream #0:3[0x103](eng): Audio: mp2, 48000 Hz, stereo, fltp, 192 kb/s",
        "[info]   Stream #0:4(eng): Subtitle: dvb_teletext",
        "[info]   Stream #0:5: Data: bin_data",
        "[info]   Stream #0:6: Video: png, rgb24(pc), 320x240, 90k tbr (attached pic)",
    )
    assert scanned_of(listed) == ["0:1", "0:3", "0:4"]
    assert scanned_of(said()) == ["0:V?", "0:a?"]


def test_of_a_playlist_only_the_film_is_scanned() -> None:
    listed = said(
        "[info] Input #0, hls, from 'x':",
        "[info]   Stream #0:0: Video: h264, yuv420p, 64x48",
        "[info]   Stream #0:1: Audio: aac, 48000 Hz, stereo",
        "[info]   Stream #0:2: Video: h264, yuv420p, 1280x720",
    )
    assert scanned_of(listed, "0:V:0") == ["0:V:0", "0:1"]


def test_what_is_said_of_a_source_is_kept() -> None:
    messages = said(
        "[info] Input #0, mov,mp4, from 'x':",
        "[info]   Stream #0:0: Video: h264 (High), yuv420p, 64x48",
        "[info]       title           : A film",
        "[info] Stream mapping:",
        "[info]   Stream #0:0 -> #0:0 (copy)",
        "[info] Output #0, mp4, to 'x':",
        "[info]   Stream #0:0: Video: mpeg4, yuv420p, 64x48",
    )
    assert messages.report == [
        "Input #0, mov,mp4, from 'x':",
        "  Stream #0:0: Video: h264 (High), yuv420p, 64x48",
        "      title           : A film",
    ]


def test_a_duration_that_is_a_guess_is_none() -> None:
    guess = "[mp3 @ 0x5] [warning] Estimating duration from bitrate, this may be inaccurate"
    assert said(guess, *listing().splitlines()).duration_s is None
    assert said(*listing().splitlines()).duration_s == 4.0


# The rule


@pytest.mark.parametrize(
    ("end_ms", "length", "start", "form"),
    [
        (3_760, "00:00:04.00", "0.000000", "mov,mp4"),
        (1_100, "00:00:04.00", "2.700000", "matroska,webm"),
        (3_760, "00:00:04.00", "-1.000000", "matroska,webm"),
        (100, "N/A", "0.000000", "flv"),
        (4_000, "00:15:00.00", "1.400000", "mpegts"),
        (198_100, "00:03:20.00", "0.000000", "avi"),
        (598_100, "00:10:00.00", "0.000000", "avi"),
        (594_100, "00:10:00.00", "0.000000", "hls"),
    ],
)
def test_a_source_may_end_a_little_before_its_duration(
    end_ms: int, length: str, start: str, form: str
) -> None:
    scan = scanned(f"0, 0, 0, {end_ms}, 9, 0x1")
    check_source(said(*listing(length, start, form).splitlines()), scan, is_web=False)


@pytest.mark.parametrize("is_web", [False, True])
def test_a_source_that_ends_earlier_fails(is_web: bool) -> None:
    scan = scanned("0, 0, 0, 3_740, 9, 0x1".replace("_", ""))
    with pytest.raises(VerificationError) as told:
        check_source(said(*listing().splitlines()), scan, is_web=is_web)
    assert str(told.value) == "the source ends after 3.7 s of 4 s"
    assert told.value.cause == ("source_away" if is_web else "source_bad")


@pytest.mark.parametrize(("end_ms", "form"), [(7_197_900, "mov,mp4"), (7_127_000, "hls")])
def test_of_a_long_film_no_more_may_be_missing_than_of_a_short_one(end_ms: int, form: str) -> None:
    scan = scanned(f"0, 0, 0, {end_ms}, 9, 0x1")
    with pytest.raises(VerificationError, match="the source ends after 71"):
        check_source(said(*listing("02:00:00.00", form=form).splitlines()), scan, is_web=False)


def test_a_duration_that_is_that_of_chapters_is_none() -> None:
    chapter = "[info]     Chapter #0:1: start 1.000000, end 9.000000"
    scan = scanned("0, 0, 0, 4000, 9, 0x1")
    check_source(said(*listing("00:00:09.00").splitlines(), chapter), scan, is_web=False)
    for length, form in (("00:00:08.80", "matroska,webm"), ("00:00:20.00", "mov,mp4")):
        with pytest.raises(VerificationError):
            check_source(
                said(*listing(length, form=form).splitlines(), chapter), scan, is_web=False
            )


def test_a_gap_alone_is_no_hole_and_damage_alone_neither() -> None:
    gap = scanned("0, 0, 0, 40, 9, 0x1", "0, 900, 900, 40, 9, 0x1")
    damage = "[in#0 @ 0x5] [warning] Packet corrupt (stream = 0, dts = 4)."
    check_source(said(), gap, is_web=False)
    check_source(said(damage), scanned("0, 0, 0, 40, 9, 0x1"), is_web=False)
    with pytest.raises(VerificationError, match=r"has a hole: 0\.9 s are missing"):
        check_source(said(damage), gap, is_web=False)


def test_a_source_whose_last_packets_are_corrupt_was_cut_off() -> None:
    packets = [f"0, {n}, {n}, 1, 9, 0x1" for n in range(9)]
    corrupt = "0, 9, 9, 1, 9, 0x1, F=0x2"
    check_source(said(), scanned(*packets[:5], corrupt, *packets[5:]), is_web=False)
    with pytest.raises(VerificationError, match="its last packets are incomplete"):
        check_source(said(), scanned(*packets, corrupt, packets[-1]), is_web=False)


def test_remarks_tell_what_was_found() -> None:
    messages = said(
        "[in#0 @ 0x5] [warning] Packet corrupt (stream = 0, dts = 4).",
        "[aist#0:1 @ 0x5] [warning] timestamp discontinuity (stream id=256): -4000000",
        "[aac @ 0x5] [error] invalid band type",
        "[aac @ 0x5] [error] and more",
    )
    assert remarks_on(messages, scanned(), Frames()) == [
        "damaged packets or frames: 1",
        "jumps of time: 1",
        "errors that ffmpeg passed over: 2, first: invalid band type",
    ]
    assert remarks_on(said(), scanned(), Frames()) == []


@pytest.mark.parametrize(
    ("progress", "told"),
    [
        (("frame=90", "dup_frames=0", "drop_frames=0"), "10 of 100"),
        (("frame=90", "frame=100", "dup_frames=20", "drop_frames=x"), "20 of 100"),
        (("frame=80", "drop_frames=20"), None),
        (("frame=98",), None),
        (("frame=120",), None),
    ],
)
def test_pictures_that_gave_none_are_told(progress: tuple[str, ...], told: str | None) -> None:
    frames = Frames()
    for line in progress:
        name, _, value = line.partition("=")
        frames = frames.told(name, value)
    mapping = (
        "[info] Stream mapping:",
        "[info]   Stream #0:1 -> #0:0 (h264 (native) -> mpeg4 (native))",
        "[info]   Stream #0:0 -> #1:0 (copy)",
        "[info]   Stream #0:1 -> #1:1 (copy)",
    )
    scan = scanned(
        "#tb 1: 1/1000", "1, -1, -1, 1, 9, 0x1", *(f"1, {n}, {n}, 1, 9, 0x1" for n in range(100))
    )
    error = "[h264 @ 0x5] [error] no frame!"
    remarks = remarks_on(said(*mapping, error), scan, frames)
    expected = [] if told is None else [f"pictures that could not be decoded: {told}"]
    assert [it for it in remarks if it.startswith("pictures")] == expected
    assert remarks_on(said(*mapping), scan, frames) == []


@pytest.mark.parametrize(
    ("packets", "film"), [((1, 50), 4), ((50, 50), 2), ((25, 50), 2), ((1, 1), 2), ((0, 0), None)]
)
def test_the_film_is_the_first_stream_that_moves(
    packets: tuple[int, int], film: int | None
) -> None:
    lines = [f"{stream}, 0, 0, 1, 9, 0x1" for stream, n in enumerate(packets) for _ in range(n)]
    messages = said(
        "[info] Stream mapping:",
        "[info]   Stream #0:2 -> #0:0 (copy)",
        "[info]   Stream #0:4 -> #0:1 (copy)",
    )
    assert film_among(messages, scanned(*lines)) == film
