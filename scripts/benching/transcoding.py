"""F. Transcoding: an engine beside a bare ffmpeg of the same arguments."""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Final, Literal, NamedTuple

import imageio_ffmpeg

from .figures import Spread
from .pictures import bars
from .plan import Plan, turns
from .report import Part, Picture, Table, Target

__all__ = ["film_of", "measure"]

BARE: Final = "bare ffmpeg"
OURS: Final = "engine"
KINDS: Final = {
    BARE: "bare",
    "engine, --verify none": "none",
    OURS: "packets",
    "engine, --verify full": "full",
}
MOST: Final = 1.03
LATE_S: Final = 3_600

HOW: Final = (
    "A film of 720p at 25 pictures a second (a test card with noise, and a tone, in H.264 and "
    "AAC) to H.264, with the packaged ffmpeg. The engine's part is all that its transcode does: "
    "it looks at the source, runs ffmpeg in its sandbox, and verifies source and output, which "
    "for the row `engine` is the default, `--verify packets`. The bare ffmpeg has the arguments "
    "that the engine gives for this source. CPU is that of all processes, times are those of the "
    "bare ffmpeg in the same round. Whether ffmpeg can encode is found out before the clock "
    "starts: an engine does that once, at its start."
)


class Took(NamedTuple):
    """How long a transcode took, by the clock and of the processors."""

    wall_s: float
    cpu_s: float


def measure(plan: Plan) -> Part:
    """Run the rounds and sum them up."""
    source = film_of(plan)
    took: dict[str, list[Took]] = defaultdict(list)
    for round_number in range(plan.rounds):
        for name in turns([*KINDS], round_number):
            took[name].append(_run(KINDS[name], source, plan.work / "transcoded"))
    wall = {name: Spread.of([it.wall_s for it in took[name]]) for name in KINDS}
    title = f"Seconds for {plan.film_s:g} s of 720p"
    rows = [
        (
            name,
            str(wall[name]),
            str(_times(took, name, "wall_s")),
            str(Spread.of([it.cpu_s for it in took[name]])),
            str(_times(took, name, "cpu_s")),
        )
        for name in KINDS
    ]
    columns = ("what", "wall s", "wall, times", "CPU s", "CPU, times")
    return Part(
        "F",
        "Transcoding",
        HOW,
        [Table(title, columns, rows)],
        [Picture("transcoding", title, bars(title, wall, OURS))],
        [_target(took)],
    )


def film_of(plan: Plan) -> Path:
    """Make the film, unless it is there."""
    path = plan.work / f"film-{plan.film_s:g}.mp4"
    if not path.exists():
        draft = path.with_suffix(".draft")
        card = f"testsrc2=s=1280x720:r=25:d={plan.film_s},noise=alls=6:allf=t"
        command = [
            *(imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y"),
            *("-f", "lavfi", "-i", card, "-f", "lavfi", "-i", f"sine=d={plan.film_s}"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-crf", "18", "-pix_fmt", "yuv420p"),
            *("-c:a", "aac", "-f", "mp4", str(draft)),
        ]
        subprocess.run(command, check=True, timeout=LATE_S)
        draft.rename(path)
    return path


def _run(kind: str, source: Path, output: Path) -> Took:
    done = subprocess.run(
        [sys.executable, "-m", "benching.transcoding_once", kind, source, output],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        timeout=LATE_S,
        check=True,
    )
    return Took(**json.loads(done.stdout))


def _times(took: dict[str, list[Took]], name: str, what: Literal["wall_s", "cpu_s"]) -> Spread:
    pairs = zip(took[name], took[BARE], strict=True)
    return Spread.of([getattr(one, what) / getattr(bare, what) for one, bare in pairs])


def _target(took: dict[str, list[Took]]) -> Target:
    alone = _times(took, "engine, --verify none", "wall_s")
    whole = _times(took, OURS, "wall_s")
    return Target(
        "F.cost",
        f"the engine, verification apart, at most {MOST:g} times the bare ffmpeg's wall time",
        f"{alone} times; {whole} with verification",
        alone.median <= MOST,
    )
