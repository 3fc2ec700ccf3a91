"""What one question of scale found."""

from collections.abc import Sequence
from typing import NamedTuple

from .report import Picture, Table, Target

__all__ = ["Answered"]


class Answered(NamedTuple):
    """Its share of the part."""

    tables: Sequence[Table]
    pictures: Sequence[Picture]
    targets: Sequence[Target]
