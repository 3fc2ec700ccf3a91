"""How each stream of sound is encoded: with all its channels, as far as the codec has them."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from dispatcher.engine.codecs import Target
from dispatcher.engine.containers import SoundCodec
from dispatcher.engine.cutting import WHOLE, Cut
from dispatcher.engine.ffmpeg_errors import FfmpegError
from dispatcher.engine.languages import is_among
from dispatcher.engine.streams import Stream, channels_of

__all__ = ["Sound", "sound_of", "wanted_sounds"]

# Silence where the source has a gap, so that what follows stays in time with the picture.
_IN_TIME: Final = "aresample=async=1:first_pts=0"
# The layout that has all channels of another one, or if there is none, as many; by speakers. What
# is beside the listener may come from behind and the other way round.
_NEAREST: Final = {
    "downmix": "stereo",
    "2.1": "5.1",
    "3.0(back)": "quad",
    "quad(side)": "quad",
    "quad": "quad(side)",
    "4.0": "5.0",
    "3.1": "5.1",
    "4.1": "5.1",
    "5.0(side)": "5.0",
    "5.0": "5.0(side)",
    "5.1(side)": "5.1",
    "5.1": "5.1(side)",
    "6.0": "6.1",
    "7.0": "7.1",
    "6.1(back)": "6.1",
    "hexagonal": "6.1",
}
# ffmpeg would mix what is behind into one channel.
_RENAMED: Final = {
    "6.1(back)": "pan=6.1|FL=FL|FR=FR|FC=FC|LFE=LFE|BC=BC|SL=BL|SR=BR",
    "hexagonal": "pan=6.1|FL=FL|FR=FR|FC=FC|BC=BC|SL=BL|SR=BR",
}
_BY_COUNT: Final = ("", "mono", "stereo", "5.1", "5.1", "5.1", "7.1", "7.1", "7.1")
_LARGEST: Final = {2: "stereo", 6: "5.1(side)", 7: "6.1", 8: "7.1"}


class Sound(NamedTuple):
    """The options of one stream of the output, and what of the source is not as it was."""

    options: list[str]
    changes: list[str]


def wanted_sounds(sounds: Sequence[Stream], target: Target) -> list[Stream]:
    """Return the tracks that the recipe wants.

    Raises `FfmpegError` if there is sound, but none in its languages: nobody wants a silent film by
    mistake.
    """
    audio = target.recipe.audio
    if audio.codec == "none":
        return []
    if not audio.languages or not sounds:
        return list(sounds)
    found = [it for it in sounds if is_among(it.language, audio.languages)]
    if not found:
        has = ", ".join(sorted({it.language or "unknown" for it in sounds}))
        raise FfmpegError(
            f"no sound in {', '.join(audio.languages)}, as 'audio.languages' of the recipe asks: "
            f"that of the source is in {has}",
            cause="source_bad",
        )
    return found


def sound_of(
    stream: Stream, target: Target, number: int, cut: Cut = WHOLE, extra: Sequence[str] = ()
) -> Sound:
    """Return how a stream becomes the output's stream of sound with that number.

    It is cut, and goes through `extra` filters. Raises `FfmpegError` if the container does not take
    the codec that the recipe asks for.
    """
    audio, container = target.recipe.audio, target.container
    refused = []
    if audio.codec == "copy":
        why = f"{container.name} takes no {stream.codec}"
        if stream.codec in container.copied_sound:
            if not cut.run_up_s and not extra:
                return Sound([f"-c:a:{number}", "copy"], [])
            why = "a part of it can't be copied from this source"
        refused = [f"{stream.described}: encoded, as {why}"]
    codecs = target.codec.sound_in(container)
    if audio.codec not in {None, "copy"}:
        if audio.codec not in container.sound:
            raise FfmpegError(
                f"{container.name} takes no {audio.codec}, only {', '.join(container.sound)}: give "
                "the recipe another 'audio.codec' or 'container'",
                cause="source_bad",
            )
        codecs = (container.sound_codec(audio.codec),)
    channels = stream.channels
    codec = next((it for it in codecs if it.most_channels >= channels), codecs[-1])
    filters, layout, changes = [_IN_TIME, *cut.sound_filters, *extra], stream.layout, list[str]()
    if not _takes(codec, layout, channels):
        layout, mapping = _mapped(codec, layout, channels)
        filters.append(mapping)
        if _NEAREST.get(stream.layout, "").partition("(")[0] != stream.layout.partition("(")[0]:
            changes.append(f"{stream.described}: {stream.layout} became {layout}")
    filters += codec.filters
    kept = min(channels_of(layout), codec.most_channels)
    rate = _rate(codec, kept, stream.sample_rate, audio.kbps_per_channel)
    options = rate.options
    asked = audio.kbps_per_channel
    if asked is not None and rate.kbps not in {None, asked}:
        changes.append(
            f"{stream.described}: {rate.kbps:g} kb/s a channel instead of {asked}, the nearest "
            f"that {codec.encoder} has for it"
        )
    if codec.lowest_rate and stream.sample_rate < codec.lowest_rate:
        options = ["-ar:a", str(codec.lowest_rate), *options]
    return Sound(
        [
            *(f"-c:a:{number}", codec.encoder),
            # Each must mean this stream only.
            *(
                f"{it}:{number}" if it.startswith("-") and it.endswith(":a") else it
                for it in options
            ),
            *(f"-filter:a:{number}", ",".join(filters)),
        ],
        [*refused, *changes],
    )


class _Rate(NamedTuple):
    """The options for a bit rate, and what it is for each channel; `None` if there is none."""

    options: list[str]
    kbps: float | None = None


def _rate(codec: SoundCodec, channels: int, samples: int, channel_kbps: int | None) -> _Rate:
    """Return the bit rate that is nearest to one for each channel, or to the usual one."""
    if not codec.channel_kbps:
        return _Rate([])
    low, high = codec.bounds_kbps
    if codec.most_bits:
        high = max(low, min(high, codec.most_bits * samples // 1_000))
    each = min(max(channel_kbps or codec.channel_kbps, low), high)
    if codec.qualities:
        kbps, quality = min(codec.qualities, key=lambda it: abs(it[0] - each))
        return _Rate(["-q:a", f"{quality:g}"], kbps)
    total = each * channels
    if codec.totals_kbps:
        total = min(codec.totals_kbps, key=lambda it: abs(it - total))
    return _Rate(["-b:a", f"{total}k"], round(total / channels, 1))


def _takes(codec: SoundCodec, layout: str, channels: int) -> bool:
    if codec.layouts is not None:
        return layout in codec.layouts
    return channels <= codec.most_channels


def _mapped(codec: SoundCodec, layout: str, channels: int) -> tuple[str, str]:
    """Return the layout to make of one that the codec does not take, and the filter for it."""
    largest = _LARGEST[codec.most_channels]
    if layout.startswith("ambisonic"):
        return "mono", "pan=mono|c0=c0"  # the first channel is what comes from everywhere
    if channels > codec.most_channels:
        if not layout.endswith("channels"):
            return largest, f"aformat=channel_layouts={largest}"
        # Nobody knows what these channels are, so they can't be mixed.
        first = "|".join(f"c{n}=c{n}" for n in range(codec.most_channels))
        return largest, f"pan={largest}|{first}"
    by_count = _BY_COUNT[channels]
    wanted = (_NEAREST.get(layout, by_count), by_count, f"{by_count}(side)", largest)
    nearest = next(it for it in wanted if codec.layouts is None or it in codec.layouts)
    mixing = f"aformat=channel_layouts={nearest}"
    return nearest, _RENAMED.get(layout, mixing) if nearest == "6.1" else mixing
