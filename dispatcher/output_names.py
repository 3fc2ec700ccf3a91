"""The names of outputs: templates such as `{stem}-{codec}` and what they become.

Laws:
- A template is checked before its job is accepted, and an engine's own before it starts. Filling
  one in that was accepted never fails.
- What comes out is the name of a file, on every system: not empty, not too long, without a slash,
  a control character or a leading dot, whatever the source is called.
- The suffix is no part of a template: it follows from the container.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

__all__ = ["MAX_TEMPLATE", "NAME_BYTES", "PLACEHOLDERS", "filled_in", "template_fault"]

PLACEHOLDERS: Final[Mapping[str, str]] = {
    "stem": "the name of the source without its suffix",
    "job_id": "the job's id",
    "codec": "the job's codec",
    "attempt": "the number of the attempt",
    "recipe": "the name of the recipe; empty if it has none",
}
"""What may stand in braces, and what it becomes."""
MAX_TEMPLATE: Final = 200
"""Characters of a template."""
NAME_BYTES: Final = 200
"""The most bytes of a name in UTF-8. File systems take 255; the suffix needs some of them."""

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_FORBIDDEN: Final = frozenset('/\\:*?"<>|')
"""What some system takes for a part of a path, or does not take."""
_RESERVED: Final = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
"""Names that are devices on Windows, whatever their suffix."""
_UNNAMED: Final = "output"


def template_fault(template: str) -> str | None:
    """Return what is wrong with a template, to follow its name; `None` if nothing is."""
    literal = _PLACEHOLDER.sub("", template)
    fault: str | None = None
    if not template.strip():
        fault = "must not be empty"
    elif len(template) > MAX_TEMPLATE:
        fault = f"must be at most {MAX_TEMPLATE} characters, not {len(template):,}"
    elif unknown := [it for it in _PLACEHOLDER.findall(template) if it not in PLACEHOLDERS]:
        known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        fault = f"has no placeholder {{{unknown[0]}}}; it has {known}"
    elif "{" in literal or "}" in literal:
        fault = "has a brace without the other one"
    elif found := next((it for it in literal if it in _FORBIDDEN), None):
        fault = f"must be the name of a file, without {found!r}"
    elif found := next((it for it in literal if _is_unprintable(it)), None):
        fault = f"must have printable characters only, without {found!a}"
    elif ".." in literal:
        fault = "must not have '..'"
    elif template.startswith("."):
        fault = "must not begin with a dot"
    return fault


def filled_in(template: str, values: Mapping[str, object]) -> str:
    """Return the name of a file without its suffix.

    `values` has a value for each of `PLACEHOLDERS`; a missing one becomes empty. Characters that no
    name may have become `_`, and a name that is too long is cut. Different values may give the same
    name, so the caller must not replace another file by it.
    """
    name = _PLACEHOLDER.sub(lambda found: str(values.get(found[1], "")), template)
    name = "".join("_" if it in _FORBIDDEN or _is_unprintable(it) else it for it in name)
    name = name.strip().lstrip(" .")
    name = name.encode("utf-8", "ignore")[:NAME_BYTES].decode("utf-8", "ignore").rstrip(" .")
    if not name:
        return _UNNAMED
    return f"_{name}" if _RESERVED.fullmatch(name) else name


def _is_unprintable(character: str) -> bool:
    """Whether it is a control, a format, a surrogate or a line end: nothing that a name shows."""
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}
