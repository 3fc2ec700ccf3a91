"""What an engine tells of an output when it completes a job.

Laws:
- An engine need not tell any of it, and fields that are not known are ignored.
- A result of the wrong type is refused. One that is too long is none: `core.texts` cuts it.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

__all__ = ["Extent", "Result", "ResultError", "result_of"]

_MAX_BYTES: Final = 2**63 - 1
_LARGEST: Final = 1e15

_Number = Annotated[float, msgspec.Meta(ge=0, le=_LARGEST)]


class Extent(msgspec.Struct, frozen=True, omit_defaults=True):
    """How large a film is, in bytes and in seconds, and the SHA-256 of its bytes."""

    size_bytes: Annotated[int, msgspec.Meta(ge=0, le=_MAX_BYTES)] | None = None
    length_s: _Number | None = None
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")] | None = None


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was done.

    `encoder` is ffmpeg's name of it. `crf` is the one that was used, and `vmaf` the score that was
    measured. `kept` and `left_out` name streams, `warnings` are sentences. `speed` is the seconds
    of film that were encoded in a second. `ffmpeg` is its version, and `arguments` are those that
    it was given for the output and before the source.
    """

    encoder: str | None = None
    crf: _Number | None = None
    vmaf: _Number | None = None
    source: Extent | None = None
    output: Extent | None = None
    kept: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    speed: _Number | None = None
    warnings: tuple[str, ...] = ()
    ffmpeg: str | None = None
    arguments: tuple[str, ...] = ()

    def wire(self) -> dict[str, Any]:
        """Return the fields that are told, as JSON has them."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return {
            name: [*value] if isinstance(value, tuple) else value for name, value in fields.items()
        }


class ResultError(ValueError):
    """This is no result. The text names the field and the rule."""


_NUMBER: Final = "a non-negative number"
_SHA256: Final = "a SHA-256, 64 hexadecimal digits in lower case"
_TEXTS: Final = "an array of strings"
_RULES: Final[Mapping[str, str]] = {
    "encoder": "a string",
    "crf": _NUMBER,
    "vmaf": _NUMBER,
    "source": "an object",
    "source.size_bytes": "a non-negative integer",
    "source.length_s": _NUMBER,
    "source.sha256": _SHA256,
    "output": "an object",
    "output.size_bytes": "a non-negative integer",
    "output.length_s": _NUMBER,
    "output.sha256": _SHA256,
    "kept": _TEXTS,
    "left_out": _TEXTS,
    "speed": _NUMBER,
    "warnings": _TEXTS,
    "ffmpeg": "a string",
    "arguments": _TEXTS,
}


def result_of(fields: object) -> Result:
    """Return the result that the fields of a completion describe. Raises `ResultError`."""
    try:
        return msgspec.convert(fields, Result)
    except msgspec.ValidationError as error:
        where = str(error).partition(" - at `$.")[2].rstrip("`").partition("[")[0]
        if not where:
            raise ResultError("'result' must be an object.") from error
        raise ResultError(f"'result.{where}' must be {_RULES[where]}.") from error
