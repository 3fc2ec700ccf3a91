"""How a film is split: the parts that engines transcode apart, and that one of them joins.

A film is cut at key frames into segments. All that is not its picture (sound, subtitles, chapters)
is one more part, the rest. An engine makes the plan, others transcode its parts as jobs of their
own, and one joins their outputs.

Laws:
- A segment says exactly which pictures are in it, and when each is shown: whoever has transcoded it
  can tell whether it is whole, without the rest of the film.
- The segments of a plan follow on each other without a gap, in order.
- Times are integers, in ticks of the film's time base, since the first of the streams begins that
  are transcoded. Seconds are used only to seek and to tell segments apart.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Final

import msgspec

__all__ = [
    "ABILITY",
    "MOST_NEEDS",
    "MOST_PARTS",
    "NO_STORE",
    "Part",
    "Plan",
    "PlanError",
    "Rest",
    "Segment",
    "part_of",
    "plan_of",
]

ABILITY: Final = "split"
"""What an engine tells (`abilities`) that can split films, transcode parts and join them."""
NO_STORE: Final = (
    "the parts of a film go through the dispatcher's store, and this one has none (`serve --store "
    "DIR`)"
)
"""Why a film can't be split, whatever it is."""
MOST_PARTS: Final = 1_000
MOST_NEEDS: Final = 16

_Ticks = Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]
_Seconds = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]


class Segment(msgspec.Struct, frozen=True, tag="segment", tag_field="kind", omit_defaults=True):
    """A segment: the `frames` pictures from the key frame at `begins`, up to the next segment.

    `time_base` is the length of a tick in seconds, such as `1/90000`. `seek_s` is where an engine
    looks for the key frame; `None` for the start of the file. Pictures before `from_s` and from
    `to_s` on are of other segments; both are halfway between two pictures. `times_sha256` is the
    SHA-256 of the pictures' times, in ticks since `begins`, in order, each a signed integer of
    eight bytes, the most significant first. `lasts` is how long the segment is shown, in ticks.
    `offset` is how much more the times are that stand in the file, in ticks.
    """

    number: Annotated[int, msgspec.Meta(ge=0, lt=MOST_PARTS)]
    begins: _Ticks
    lasts: Annotated[int, msgspec.Meta(gt=0, le=2**62)]
    frames: Annotated[int, msgspec.Meta(gt=0, le=2**40)]
    time_base: Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,9}/[1-9][0-9]{0,9}\Z")]
    times_sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    seek_s: _Seconds | None = None
    from_s: _Seconds | None = None
    to_s: _Seconds | None = None
    offset: _Ticks = 0


class Rest(msgspec.Struct, frozen=True, tag="rest", tag_field="kind"):
    """All of the film that is not its picture."""


Part = Segment | Rest


class Plan(msgspec.Struct, frozen=True):
    """The parts of a film: its segments, in order, then the rest, if there is any.

    `needs` are the abilities that an engine must have told to be given one of them: so all come
    from one build of ffmpeg, since another makes other pictures of the same settings.
    """

    parts: Annotated[tuple[Part, ...], msgspec.Meta(min_length=1, max_length=MOST_PARTS)]
    needs: Annotated[
        tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=4_096)], ...],
        msgspec.Meta(max_length=MOST_NEEDS),
    ] = ()

    def wire(self) -> dict[str, Any]:
        """Return the plan as JSON has it."""
        fields: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return fields


class PlanError(ValueError):
    """This is no plan, or no part of one. The text names the field and the rule."""


def plan_of(fields: object) -> Plan:
    """Return the plan that the fields of a body describe. Raises `PlanError`."""
    try:
        plan = msgspec.convert(fields, Plan)
    except msgspec.ValidationError as error:
        raise PlanError(_worded(error)) from error
    segments = [it for it in plan.parts if isinstance(it, Segment)]
    if not segments or [it.number for it in segments] != [*range(len(segments))]:
        raise PlanError("'parts' must have segments, numbered from 0 in order")
    if plan.parts[: len(segments)] != tuple(segments) or len(plan.parts) > len(segments) + 1:
        raise PlanError("'parts' may have one rest, after the segments")
    if any(it.time_base != segments[0].time_base for it in segments):
        raise PlanError("'parts' must have one time base")
    if any(it.begins + it.lasts != later.begins for it, later in pairwise(segments)):
        raise PlanError("'parts' must follow on each other without a gap")
    for it in segments:
        if it.from_s is not None and it.to_s is not None and it.from_s >= it.to_s:
            raise PlanError(f"'parts[{it.number}]' must have 'from_s' before 'to_s'")
    for earlier, later in pairwise(segments):
        if earlier.to_s != later.from_s:
            raise PlanError(
                f"'parts[{later.number}].from_s' must be the 'to_s' of the segment before it: "
                "there may be no gap and nothing twice"
            )
    return plan


def part_of(fields: Mapping[str, Any]) -> Part:
    """Return the part that a job is of. Raises `PlanError`."""
    try:
        part: Part = msgspec.convert(fields, Part)
    except msgspec.ValidationError as error:
        raise PlanError(_worded(error)) from error
    return part


def _worded(error: msgspec.ValidationError) -> str:
    what, _, where = str(error).partition(" - at `$")
    where = where.rstrip("`").removeprefix(".")
    return f"'{where}': {what}" if where else what
