"""How each stream of sound is encoded: with all its channels, as far as the codec has them."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from dispatcher.engine.codecs import SoundCodec
from dispatcher.engine.streams import Stream, channels_of

__all__ = ["Sound", "sound_of"]

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
_LARGEST: Final = {2: "stereo", 6: "5.1(side)", 8: "7.1"}


class Sound(NamedTuple):
    """The options of one stream of the output, and what of the source is not as it was."""

    options: list[str]
    changes: list[str]


def sound_of(stream: Stream, codecs: Sequence[SoundCodec], number: int) -> Sound:
    """Return how a stream becomes the output's stream of sound with that number."""
    channels = stream.channels
    codec = next((it for it in codecs if it.most_channels >= channels), codecs[-1])
    filters, layout, changes = [_IN_TIME], stream.layout, list[str]()
    if not _takes(codec, layout, channels):
        layout, mapping = _mapped(codec, layout, channels)
        filters.append(mapping)
        if _NEAREST.get(stream.layout, "").partition("(")[0] != stream.layout.partition("(")[0]:
            changes.append(f"{stream.described}: {stream.layout} became {layout}")
    filters += codec.filters
    options = [f"-c:a:{number}", codec.encoder]
    # Options such as `-q:a` must mean this stream only.
    options += [f"{it}:{number}" if it.endswith(":a") else it for it in codec.options]
    if codec.channel_kbps:
        kept = min(channels_of(layout), codec.most_channels)
        options += [f"-b:a:{number}", f"{codec.channel_kbps * kept}k"]
    return Sound([*options, f"-filter:a:{number}", ",".join(filters)], changes)


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
