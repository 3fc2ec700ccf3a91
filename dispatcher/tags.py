"""Tags: short names by which an operator sorts engines, and a client asks for some of them.

An engine with a tag has the ability `tag:NAME`, and a job with a tag needs it. So a tag is told,
kept and matched as any ability is; only what people write and read has the name alone.

Pure: the core words its reasons with it.
"""

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["MAX_TAG", "MAX_TAGS", "PATTERN", "abilities_of", "in_words", "split", "tag_fault"]

MAX_TAG: Final = 40
"""Characters."""
MAX_TAGS: Final = 16
"""Tags of a job, or of an engine."""
PATTERN: Final = rf"^[A-Za-z0-9][A-Za-z0-9_.-]{{0,{MAX_TAG - 1}}}$"

_PREFIX: Final = "tag:"
_is_tag: Final = re.compile(PATTERN.removesuffix("$") + r"\Z").match


def tag_fault(tags: list[str]) -> str | None:
    """Return what is wrong with the tags of a job or an engine, or `None`."""
    for tag in tags:
        if not _is_tag(tag):
            return (
                f"must be short names: {tag[: MAX_TAG + 1]!r} is not 1 to {MAX_TAG} letters, "
                "digits, '-', '_' and '.', of which the first is a letter or a digit"
            )
    if len(set(tags)) > MAX_TAGS:
        return f"must be at most {MAX_TAGS}"
    return None


def abilities_of(tags: Iterable[str]) -> list[str]:
    """Return the abilities that stand for tags, each once and in order."""
    return sorted({f"{_PREFIX}{tag}" for tag in tags})


def split(abilities: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the tags among abilities, by their names alone, and the other abilities."""
    tags, others = list[str](), list[str]()
    for ability in abilities:
        if ability.startswith(_PREFIX):
            tags.append(ability.removeprefix(_PREFIX))
        else:
            others.append(ability)
    return tags, others


def in_words(tags: list[str]) -> str:
    """Name tags within a sentence."""
    return f"the tag {tags[0]}" if len(tags) == 1 else f"the tags {', '.join(tags)}"
