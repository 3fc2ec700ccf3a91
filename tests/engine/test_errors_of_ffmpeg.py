"""What each error of ffmpeg is put down to."""

import pytest

from dispatcher.engine.causes import KNOWN, known_in

# As ffmpeg 5.1 and 9.0 print them.
PRINTED = {
    "engine": [
        "av_interleaved_write_frame(): No space left on device",
        "Error writing trailer of file:x.mp4: No space left on device",
        "[mpeg4 @ 0x1] Cannot allocate memory",
        "Unknown encoder 'libx264'",
        "[vost#0:0 @ 0x1] Unknown encoder 'libx264'\nError opening output files: Encoder not found",
        "[AVFilterGraph @ 0x1] No such filter: 'zscale'",
        "Unrecognized option 'fps_mode'.\nError splitting the argument list: Option not found",
        "Error initializing output stream 0:0 -- Error while opening encoder for output",
        "[h264 @ 0x1] Picture size 20000x20000 exceeds specified max pixel count 40000000",
        "Decoding requested, but no decoder found for: none",
    ],
    "source_away": [
        "[tcp @ 0x1] Connection to tcp://127.0.0.1:9 failed: Connection refused",
        "http://127.0.0.1:9/x: Connection refused",
        "[tcp @ 0x1] Failed to resolve hostname x.invalid: Name or service not known",
        "[http @ 0x1] HTTP error 503 Service Unavailable",
        "[http @ 0x1] HTTP error 429 Too Many Requests",
        "x.mp4: Server returned 5XX Server Error reply",
        "[http @ 0x1] Stream ends prematurely at 100, should be 5000",
        "[hls @ 0x1] Failed to open segment 3 of playlist 0",
        "file:gone.mp4: No such file or directory",
        "Connection timed out",
    ],
    "source_bad": [
        "[http @ 0x1] HTTP error 404 Not Found",
        "x.mp4: Server returned 403 Forbidden (access denied)",
        "[mov,mp4 @ 0x1] moov atom not found\nx.mp4: Invalid data found when processing input",
        "[png_pipe @ 0x1] Format not on whitelist 'mov,mp4'\nstill.png: Invalid argument",
        "Output #0, mp4, to 'x':\nOutput file #0 does not contain any stream",
        "Stream map '0:V:0' matches no streams.",
        "[in#0/mpegts @ 0x1] Decode error rate 1 exceeds maximum 0.666667",
        "[matroska @ 0x1] EBML header parsing failed",
        "[venc @ 0x1] Error while opening encoder - maybe incorrect parameters such as bit_rate",
        "x.mp4: Invalid data found when processing input",
        "[in#0 @ 0x1] Error opening input: End of file",
        "[file @ 0x1] Protocol 'file' not on whitelist 'http,tcp'!",
    ],
    "unknown": [
        "file:x.mp4: Permission denied",
        "x: Input/output error",
        "[hevc @ 0x1] Not yet implemented in FFmpeg, patches welcome",
    ],
}
CASES = [(cause, text) for cause, texts in PRINTED.items() for text in texts]


@pytest.mark.parametrize(("cause", "text"), CASES)
def test_an_error_of_ffmpeg_is_put_to_its_cause(cause: str, text: str) -> None:
    known = known_in(text)
    assert known is not None
    assert known.cause == cause


@pytest.mark.parametrize(
    "text",
    [
        "something new",
        "    title           : No space left on device",
        "[http @ 0x1] Stream ends prematurely at 100, should be 18446744073709551615",
    ],
)
def test_what_is_not_an_error_that_is_known_has_no_cause(text: str) -> None:
    assert known_in(text) is None


def test_what_the_machine_lacks_explains_what_it_says_of_the_source() -> None:
    known = known_in("x: Invalid data found when processing input\ny: No space left on device")
    assert known is not None
    assert (known.cause, known.sentence) == ("engine", "the engine's disk is full")


def test_every_row_is_one_plain_sentence() -> None:
    assert len({row.sentence for row in KNOWN}) == len(KNOWN)
    for row in KNOWN:
        assert "\n" not in row.sentence
        assert not row.sentence.endswith(".")
