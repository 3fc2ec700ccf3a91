"""Score what an encoder makes of a film by VMAF, and search the quality that reaches a score.

Each trial encodes samples of the film by one setting of its encoder, and scores the result beside
the samples. The model is VMAF's own for a screen of 1080 lines, version 0.6.1.

Laws:
- Frames are compared by their number, not by their time, at the size and in the pixels of the
  output.
- What is searched for is proven first: an ffmpeg without a real score has no ability to search.
"""

import csv
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from dispatcher.engine.codecs import Target
from dispatcher.engine.encoding import Encoding
from dispatcher.engine.ffmpeg_errors import FfmpegError
from dispatcher.engine.inspection import Inspected
from dispatcher.engine.rates import Rate
from dispatcher.engine.running import Run, run
from dispatcher.engine.samples import Film, Part, Samples, Scale, part_done, samples_of
from dispatcher.engine.sandbox import Access, Sandbox
from dispatcher.engine.searching import MOST_TRIALS, found_place, next_place, what_was_missed
from dispatcher.engine.timing import rate_of
from dispatcher.recipes import Recipe

__all__ = ["Found", "can_score", "film_of", "part_of", "scale_of", "search"]

_BEST_CRF: Final = 4.0
"""Below it films grow fast for nothing that is seen; 0 is lossless, which few players show."""
_FPS: Final = 25.0
_PROVEN: Final = 90
_WINDOWS_COST: Final = 1 / 30
"""What an encoder loses of the distance to 100 in windows: it looks less far ahead in each of them
than in the film. Measured with h264, hevc, vp9 and av1 from 75 to 97 points: 0.2 to 0.9 points."""
_ENDS: Final = 2
_COMMAND: Final = ("-hide_banner", "-nostdin", "-v", "repeat+level+info", "-nostats", "-y")
_OURS: Final = ("-protocol_whitelist", "file")


class Found(NamedTuple):
    """The number that was found, the score of the samples at it, and what is to be said of it."""

    number: float
    vmaf: float
    trials: int
    warnings: tuple[str, ...] = ()


def film_of(found: Inspected, target: Target, encoding_for: Callable[[float], Encoding]) -> Film:
    """Return how a film becomes an output, for a search by its encoder's numbers.

    Raises `FfmpegError` if the encoder has none.
    """
    if target.encoder.rate is None or found.film is None:
        raise FfmpegError(
            f"{target.encoder.name} has no quality to search for a VMAF score", cause="source_bad"
        )
    first = encoding_for(target.encoder.rate.usual)
    fps = target.recipe.fps
    return Film(
        first.input_options,
        f"0:{found.film.index}",
        first.filters,
        found.film.fps or _FPS if fps is None else float(rate_of(fps, target.encoder)),
        lambda number: encoding_for(number).encoder,
        scale_of(target.encoder.rate),
        target.encoder.device,
    )


def scale_of(rate: Rate) -> Scale:
    """Return the numbers of an encoder, by steps that make a small difference."""
    (_, best), *_, (_, worst) = rate.anchors
    if rate.is_crf:
        best = max(rate.least, _BEST_CRF)
    step = (1.0 if rate.whole else 0.5) * (1 if worst > best else -1)
    numbers = [best + step * place for place in range(int((worst - best) / step) + 1)]
    return Scale(numbers, [rate.quality_at(number) for number in numbers])


def part_of(recipe: Recipe, length_s: float | None) -> Part:
    """Return the part of a film of this length that a recipe wants."""
    from_s, to_s = recipe.clip.from_s, recipe.clip.to_s
    ends = [it for it in (to_s, length_s) if it is not None]
    return Part(from_s, max(0.0, min(ends) - from_s) if ends else None)


async def search(
    reading: Run,
    film: Film,
    target: float,
    part: Part,
    progress: Callable[[float], None] = lambda _: None,
) -> Found:
    """Search the number of an encoder's scale at which a film, or a part of it, reaches a score.

    `reading` is a run that opens the source, and may write in a folder. `progress` is called with
    the part that is done, from 0 to 1. If what is found is far from the score, a warning tells
    why. Raises `FfmpegError` if the film can't be sampled or encoded.
    """
    steps = MOST_TRIALS + 2
    samples = await samples_of(reading, film, part, _share(progress, 0, steps))
    few = samples.few()
    tried: dict[int, float] = {}
    hint: tuple[int, float] | None = None
    place = next_place(film.scale.expected, tried, target)
    if place is not None and 1 < len(few.parts) < len(samples.parts):
        hint = place, await _trial(reading, film, few, place, _share(progress, 1, steps))
        begin = next_place(film.scale.expected, dict([hint]), target)
        place = place if begin is None else begin
    few.listed.unlink()
    while place is not None:
        told = _share(progress, 2 + len(tried), steps)
        tried[place] = await _trial(reading, film, samples, place, told)
        place = next_place(film.scale.expected, tried, target, hint)
    samples.remove()
    place = found_place(tried, target)
    missed = what_was_missed(tried, film.scale.numbers, target)
    return Found(
        film.scale.numbers[place],
        round(tried[place], 2),
        len(tried),
        () if missed is None else (missed,),
    )


async def can_score(path: Path, sandbox: Sandbox, folder: Path) -> bool:
    """Whether an ffmpeg gives scores: a picture has a high one compared with itself."""
    card = ("-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=0.2")
    log = folder / "scores.csv"
    command = [str(path), *_COMMAND, *card, *card, *_scoring(1, log)]
    try:
        await run(Run(command, sandbox, Access(folder=folder)))
        scores = _scores_in(log)
    except (FfmpegError, OSError):
        return False
    return bool(scores) and min(scores) >= _PROVEN


async def _trial(
    reading: Run, film: Film, samples: Samples, place: int, progress: Callable[[float], None]
) -> float:
    """Encode samples at a place of the scale, and score the result."""
    made, log = (samples.listed.with_name(name) for name in ("trial.mkv", "scores.csv"))
    # By an even rate: windows have no common time, and a trial is to keep all frames.
    rate = f"{film.fps:g}"
    original = [*_OURS, "-r", rate, "-f", "concat", "-i", f"file:{samples.listed}"]

    length_s = sum(it.frames for it in samples.parts) / film.fps

    async def ffmpeg(*arguments: str, on_line: Callable[[str], None]) -> None:
        command = [reading.command[0], *_COMMAND, "-progress", "pipe:1", *arguments]
        access = Access(folder=reading.access.folder).to(film.device)
        await run(Run(command, reading.sandbox, access, on_line=on_line, stall_s=reading.stall_s))

    encoder = film.encoder(film.scale.numbers[place])
    passed = ("-map", "0:v:0", *encoder, "-fps_mode", "passthrough")
    await ffmpeg(
        *(*original, *passed, "-f", "matroska", f"file:{made}"),
        on_line=part_done(length_s, lambda done: progress(done / 2)),
    )
    await ffmpeg(
        *(*_OURS, "-i", f"file:{made}", *original, *_scoring(os.cpu_count() or 1, log)),
        on_line=part_done(length_s, lambda done: progress(0.5 + done / 2)),
    )
    try:
        return _mean(_scores_in(log), [it.frames for it in samples.parts])
    finally:
        made.unlink(missing_ok=True)
        log.unlink(missing_ok=True)


def _share(progress: Callable[[float], None], step: int, steps: int) -> Callable[[float], None]:
    """Return what tells the progress of one step of several."""
    return lambda done: progress((step + done) / steps)


def _scoring(threads: int, log: Path) -> list[str]:
    """Return the arguments that compare the first input with the second, which is the original."""
    # Whole numbers: a rounded time pairs wrong frames. libvmaf crashes with very small pictures.
    larger = "max(1\\,ceil(32/min(iw\\,ih)))"
    numbered = f"settb=1/25,setpts=N,scale=w=iw*{larger}:h=ih*{larger}:flags=neighbor"
    compared = f"libvmaf=n_threads={threads}:shortest=1:repeatlast=0:log_fmt=csv:log_path="
    return [
        "-filter_complex",
        f"[0:v]{numbered}[made];[1:v]{numbered}[original];[made][original]{compared}{_quoted(log)}",
        *("-f", "null", "-"),
    ]


def _quoted(path: Path) -> str:
    """Return a path as the value of an option of a filter that stands in a graph."""
    value = re.sub(r"([\\':])", r"\\\1", str(path))
    return re.sub(r"([\\'\[\],;])", r"\\\1", value)


def _scores_in(log: Path) -> list[float]:
    """Read the score of each frame; raises `FfmpegError` if there is none."""
    try:
        return [float(row["vmaf"]) for row in csv.DictReader(log.read_text().splitlines())]
    except (KeyError, TypeError, ValueError) as error:
        raise FfmpegError("ffmpeg ended well but told no VMAF score", cause="engine") from error


def _mean(scores: Sequence[float], frames: Sequence[int]) -> float:
    """Return the score to expect of the film: the mean over all windows, which have so many frames.

    VMAF looks at how much moves. From one window to the next all does, which lowers the scores
    of the frames on both sides, so these don't count. What windows cost an encoder is added.
    """
    if sum(frames) != len(scores):
        raise FfmpegError(
            f"{sum(frames)} frames were encoded to be scored, and {len(scores)} were",
            cause="engine",
        )
    total, begin = 0.0, 0
    for count in frames:
        window = scores[begin : begin + count]
        inner = window[1:-1] if len(frames) > 1 and len(window) > _ENDS else window
        total += count * sum(inner) / len(inner)
        begin += count
    mean = total / len(scores)
    return mean + (100 - mean) * _WINDOWS_COST if len(frames) > 1 else mean
