"""Decode the end of a file, to see whether it was cut off. Runs in a process of its own.

    python -I -S tail.py PACKAGES DEMUXERS MAX_PIXELS FILE

PACKAGES is where PyAV is. It prints `whole`, or `cut: ` and why, or `unknown: ` and why. Most files
that are cut are cut in the middle of a packet, which is then damaged: for transport streams and raw
streams, which declare no length, this is the only sign.

Laws:
- Only damage at the very end counts. What can't be read or decoded at all is unknown.
- It may crash or hang: whoever starts it must bear that. It imports nothing of the project.
"""

import sys
from collections import deque
from typing import Any

GROUPS = 2
"""So many groups of pictures are kept, the last perhaps incomplete."""
ENOUGH = 16
"""If the last group has so many pictures, only that is decoded: a long group takes its time."""
PACKETS = 16
"""So many packets of sound are decoded."""
MOST_PACKETS = 4_000
MOST_BYTES = 300_000_000
"""Of two groups of pictures that have more than this, nothing is decoded."""
LAST_PACKETS = 4
LAST_FRAMES = 3
FROM_S = 60
"""So much of a longer file is read."""


def main(packages: str, demuxers: str, max_pixels: str, path: str) -> None:
    """Print what is found."""
    sys.path.append(packages)
    import av  # noqa: PLC0415 - it is not on the path before

    av.logging.set_level(None)
    try:
        print(judge(av, demuxers, max_pixels, path))
    except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
        print(f"unknown: {error}")


def judge(av: Any, demuxers: str, max_pixels: str, path: str) -> str:
    """Return what is found in a file: first in its end only, which is quick if it has an index."""
    for seeks in (True, False):
        options = {"protocol_whitelist": "file", "format_whitelist": demuxers}
        with av.open(path, options=options) as container:
            if seeks and not seek(av, container):
                continue
            kept = ends_of(container)
            if kept is None:
                continue
            for stream, packets in kept:
                if fault := fault_in(av, stream, packets, max_pixels):
                    return f"cut: {fault}"
            return "whole" if kept else "unknown: nothing to decode"
    return "unknown: no picture to begin with"


def seek(av: Any, container: Any) -> bool:
    """Go to the last minute of a longer file; gives whether that was done."""
    length = container.duration
    if length is None or length < 2 * FROM_S * av.time_base:
        return False
    try:
        container.seek((container.start_time or 0) + length - FROM_S * av.time_base)
    except av.FFmpegError:
        return False
    return True


def ends_of(container: Any) -> list[tuple[Any, list[Any]]] | None:
    """Read to the end; gives the last packets of a stream of pictures and one of sound.

    Gives `None` if those of the pictures can't be decoded, without a key frame.
    """
    films = [
        it for it in container.streams.video if not it.disposition & it.disposition.attached_pic
    ]
    chosen = films[:1] + list(container.streams.audio)[:1]
    kept: dict[int, deque[Any]] = {it.index: deque() for it in chosen}
    bytes_kept = 0
    for packet in container.demux(chosen):
        if packet.size == 0:
            continue
        packets = kept[packet.stream.index]
        packets.append(packet)
        if packet.stream.type == "audio":
            if len(packets) > PACKETS:
                packets.popleft()
            continue
        bytes_kept += packet.size
        if packet.is_keyframe:
            while sum(it.is_keyframe for it in packets) > GROUPS or not packets[0].is_keyframe:
                bytes_kept -= packets.popleft().size
        if len(packets) > MOST_PACKETS or bytes_kept > MOST_BYTES:
            packets.clear()
            bytes_kept = 0
    if any(it.type == "video" and not any(p.is_keyframe for p in kept[it.index]) for it in chosen):
        return None
    return [(it, needed(list(kept[it.index]), it.type)) for it in chosen if kept[it.index]]


def needed(packets: list[Any], kind: str) -> list[Any]:
    """Return those packets that must be decoded to judge the last ones."""
    if kind != "video":
        return packets
    key = max(place for place, packet in enumerate(packets) if packet.is_keyframe)
    return packets[key:] if len(packets) - key >= ENOUGH else packets


def fault_in(av: Any, stream: Any, packets: list[Any], max_pixels: str) -> str | None:
    """Decode the last packets of a stream; gives why they are damaged, or `None`."""
    kind = {"video": "picture", "audio": "sound"}[stream.type]
    if any(packet.is_corrupt for packet in packets[-LAST_FRAMES:]):
        return f"the last {kind} is incomplete"
    decoder = stream.codec_context
    if decoder is None:
        return None
    decoder.thread_count = 1
    # Filters of the edges of blocks are for eyes.
    decoder.options = {
        "err_detect": "explode",
        "max_pixels": max_pixels,
        "skip_loop_filter": "all",
    }
    corrupt: deque[bool] = deque(maxlen=LAST_FRAMES)
    decoded = 0
    last_error = None
    for left, packet in zip(range(len(packets), -1, -1), [*packets, None], strict=True):
        try:
            for frame in decoder.decode(packet):
                decoded += 1
                corrupt.append(frame.is_corrupt)
        except av.FFmpegError as error:
            if left <= LAST_PACKETS:
                last_error = error
    if not decoded:
        return None
    if last_error is not None:
        return f"the last {kind} can't be decoded ({last_error.strerror})"
    return f"the last {kind} is damaged" if any(corrupt) else None


if __name__ == "__main__":
    main(*sys.argv[1:])
