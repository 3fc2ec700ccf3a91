"""Find out what an ffmpeg can really encode, by short real encodes.

Law: an encoder is offered only if it has encoded. ffmpeg's own list is not enough: it has encoders
of hardware even without the hardware.
"""

import asyncio
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import msgspec

from dispatcher.engine.codecs import CODECS, Codec, Encoder
from dispatcher.engine.containers import CONTAINERS
from dispatcher.engine.ffmpeg_errors import FfmpegError, FfmpegMissingError
from dispatcher.engine.hardware import HwAccel, candidates
from dispatcher.engine.running import Run, run
from dispatcher.engine.sandbox import Access, Sandbox

__all__ = ["Card", "encode_test_card", "is_written", "proven_encoders"]


class Card(NamedTuple):
    """How large ffmpeg's own picture is, and for how long it is encoded."""

    size: str
    length_s: float


_CARD: Final = Card("128x96", 0.4)
_CARD_OF_HARDWARE: Final = Card("320x240", 0.4)
"""Hardware takes no pictures that are much smaller."""


class _Probe(NamedTuple):
    """An ffmpeg that is tried, as many encodes at once as there are turns."""

    path: Path
    sandbox: Sandbox
    folder: Path
    turns: asyncio.Semaphore

    async def first_working(self, codec: Codec, encoders: Iterable[Encoder]) -> Encoder | None:
        """Return the first encoder that works; of hardware with the pixel formats that do."""
        for encoder in encoders:
            async with self.turns:
                if encoder in codec.encoders:
                    if await self._works(codec, encoder, _CARD):
                        return encoder
                elif pixels := [
                    # Much hardware takes 8 bits only.
                    it
                    for it in encoder.pixels
                    if await self._works(
                        codec, msgspec.structs.replace(encoder, pixels=(it,)), _CARD_OF_HARDWARE
                    )
                ]:
                    return msgspec.structs.replace(encoder, pixels=tuple(pixels))
        return None

    async def _works(self, codec: Codec, encoder: Encoder, card: Card) -> bool:
        output = self.folder / codec.names[0]
        try:
            await encode_test_card(self.path, self.sandbox, card, codec, encoder, output)
            return is_written(output)
        except FfmpegError:
            return False
        finally:
            output.unlink(missing_ok=True)


async def proven_encoders(
    path: Path, sandbox: Sandbox, hwaccel: HwAccel, listed: frozenset[str]
) -> Mapping[str, tuple[Codec, Encoder]]:
    """Return each codec that can be encoded, by all its names, with the encoder to use.

    `listed` are the encoders that the ffmpeg says it has. Raises `FfmpegMissingError` if it can
    encode nothing, or not by the hardware that is named.
    """
    turns = asyncio.Semaphore(os.cpu_count() or 1)
    with TemporaryDirectory(prefix="dispatcher-probe-") as folder:
        probe = _Probe(path, sandbox, Path(folder), turns)
        found = await asyncio.gather(
            *(probe.first_working(it, candidates(it, hwaccel, listed)) for it in CODECS)
        )
    encoders = {
        name: (codec, encoder)
        for codec, encoder in zip(CODECS, found, strict=True)
        if encoder is not None
        for name in codec.names
    }
    if not encoders:
        raise FfmpegMissingError(f"{path} can encode none of the codecs that engines offer")
    kinds = {encoder.name.rpartition("_")[2] for _, encoder in encoders.values()}
    if hwaccel not in {"none", "auto", *kinds}:
        raise FfmpegMissingError(
            f"--hwaccel {hwaccel}: {path} could encode nothing by it on this machine; with "
            "--hwaccel auto or none software does it"
        )
    return encoders


async def encode_test_card(  # noqa: PLR0913, PLR0917 - all that an encode is made of
    path: Path, sandbox: Sandbox, card: Card, codec: Codec, encoder: Encoder, output: Path
) -> None:
    """Encode ffmpeg's own picture and tone; raises `FfmpegError` if that fails."""
    command = [
        *(str(path), "-hide_banner", "-nostdin", "-v", "error"),
        *("-f", "lavfi", "-i", f"testsrc2=s={card.size}:r=25:d={card.length_s}"),
        *("-f", "lavfi", "-i", f"sine=f=440:d={card.length_s}"),
        *("-map", "0:v", "-map", "1:a", *_test_card(codec, encoder), "-y", f"file:{output}"),
    ]
    await run(Run(command, sandbox, Access(folder=output.parent).to(encoder.device)))


def _test_card(codec: Codec, encoder: Encoder) -> list[str]:
    """Return the options of the output."""
    shape = [f"format={it}" for it in encoder.pixels[:1]]
    chain = [*shape, *encoder.device.upload]
    params = [] if encoder.params is None or not encoder.params[1] else encoder.params
    container = CONTAINERS[codec.container]
    rate = [] if encoder.rate is None else encoder.rate.at()
    return [
        *(*encoder.device.options, "-c:v", encoder.name, *rate, *encoder.at_speed()),
        *(*encoder.options, *params, *(("-filter:v", ",".join(chain)) if chain else ())),
        # As every transcode does: ffmpeg has this option since 5.1.
        *("-fps_mode", "vfr"),
        *("-c:a", codec.sound_in(container)[0].encoder),
        *(*container.options, "-f", container.muxer),
    ]


def is_written(output: Path) -> bool:
    """Whether there is an output that is not empty."""
    return output.exists() and output.stat().st_size > 0
