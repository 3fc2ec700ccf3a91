"""The arguments with which ffmpeg makes an output of a source: a function of what the source has.

Laws:
- What a source has is kept where the codec and the container can.
- What is left out or not as it was is told in plain sentences. It does not fail the job.
- A recipe is followed, or the job fails and says why not.
- A source without a film fails, before anything is encoded.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

from dispatcher.engine.codecs import Target
from dispatcher.engine.containers import CONTAINERS, Container
from dispatcher.engine.cutting import WHOLE, Cut
from dispatcher.engine.ffmpeg_errors import FfmpegError
from dispatcher.engine.hdr import Light
from dispatcher.engine.languages import is_among
from dispatcher.engine.picture import picture_of
from dispatcher.engine.raw_arguments import raw_of
from dispatcher.engine.sound import sound_of, wanted_sounds
from dispatcher.engine.streams import Source, Stream

__all__ = [
    "Abilities",
    "Encoding",
    "NoFilmError",
    "encoding_of",
    "joined_options",
    "rest_container",
    "rest_later_s",
    "texts_to_cut",
]

NOTHING_CUT: Final[Mapping[int, int]] = {}

_TEXT: Final = frozenset(
    [
        "ass",
        "eia_608",
        "jacosub",
        "microdvd",
        "mov_text",
        "mpl2",
        "pjs",
        "realtext",
        "sami",
        "srt",
        "ssa",
        "stl",
        "subrip",
        "subviewer",
        "subviewer1",
        "text",
        "ttml",
        "vplayer",
        "webvtt",
        "arib_caption",
    ]
)
"""Subtitles that are text. The others are pictures."""
_ENCODERS: Final = {"ass": "ass", "ssa": "ass", "webvtt": "webvtt"}
"""Those of text that is cut, but otherwise kept as it is."""
_QUICKTIME: Final = frozenset({"mp4", "mov"})
# QuickTime's own names of languages that have two in ISO 639-2.
_MACINTOSH: Final = {
    "bod": "tib",
    "cze": "ces",
    "deu": "ger",
    "ell": "gre",
    "fas": "per",
    "fre": "fra",
    "hye": "arm",
    "isl": "ice",
    "kat": "geo",
    "mkd": "mac",
    "msa": "may",
    "mya": "bur",
    "nld": "dut",
    "rum": "ron",
    "slo": "slk",
    "sqi": "alb",
    "swe": "sve",
    "zho": "chi",
}
# mkvtoolnix counts what is in a stream; of the output that would be false.
_COUNTS: Final = ("BPS", "NUMBER_OF_FRAMES", "NUMBER_OF_BYTES", "DURATION", "_STATISTICS_")


class NoFilmError(FfmpegError):
    """The source has no film. The text says what it has instead."""

    def __init__(self, found: str) -> None:
        super().__init__(f"no video stream: the source {found}", cause="source_bad")


class Abilities(NamedTuple):
    """The filters that an ffmpeg has, and the codecs that it can decode."""

    filters: AbstractSet[str]
    decodes: AbstractSet[str]


class Encoding(NamedTuple):
    """Arguments before the input and for the output, and what becomes of the source.

    `kept` and `left_out` are on its streams; `changes` tell what of it is not as it was. `number`
    is the CRF, or what the encoder has instead. All of it is in plain sentences. `filters` and
    `encoder` are what the film goes through.
    """

    input_options: list[str]
    options: list[str]
    changes: list[str]
    kept: list[str]
    left_out: list[str]
    number: float | None = None
    filters: Sequence[str] = ()
    encoder: Sequence[str] = ()


def encoding_of(  # noqa: PLR0913, PLR0917 - all that decides
    source: Source,
    film: Stream | None,
    target: Target,
    abilities: Abilities,
    light: Light | None = None,
    cut: Cut = WHOLE,
    texts_cut: Mapping[int, int] = NOTHING_CUT,
    *,
    is_rest: bool = False,
) -> Encoding:
    """Return the arguments for one of a source's video streams and all that goes with it.

    All of it is cut as `cut` tells. Streams of `texts_cut` have been cut before: each is an input
    of its own, of that number. With `is_rest` they are for all that goes with it alone.

    Raises `NoFilmError` if there is no such stream, and `FfmpegError` if it can't be encoded.
    """
    if film is None:
        raise NoFilmError(_instead_of_film(source))
    if not _is_decodable(film, abilities):
        raise FfmpegError(
            f"the film's codec, {film.tag or film.codec}, can't be decoded by this ffmpeg",
            cause="engine",
        )
    raw = raw_of(target.recipe.ffmpeg_args)
    picture = picture_of(film, target, abilities.filters, light or Light(), raw, cut)
    container, changes = target.container, [*picture.changes]
    kept, left_out = [film], list[str]()
    options = [] if is_rest else [*picture.options]
    sounds = [it for it in source.of_kind("audio") if _is_decodable(it, abilities)]
    wanted = wanted_sounds(sounds, target)
    for stream in source.of_kind("audio"):
        if stream in wanted:
            sound = sound_of(stream, target, len(kept) - 1, cut, raw.sound_filters)
            kept.append(stream)
            options += sound.options
            changes += sound.changes
        elif stream in sounds:
            left_out.append(_left_out(stream, "the recipe does not want it"))
        else:
            left_out.append(_left_out(stream, f"{_codec_name(stream)} can't be decoded"))
    texts = 0
    for stream in source.of_kind("subtitle"):
        if not _wants(stream, target):
            left_out.append(_left_out(stream, "the recipe does not want it"))
        elif (how := _subtitle_codec(stream, container, abilities, cut)) and (
            stream.index not in texts_cut and _loses_its_time(how, cut)
        ):
            left_out.append(_left_out(stream, f"{_codec_name(stream)} can't be cut"))
        elif how:
            kept.append(stream)
            options += [f"-c:s:{texts}", how]
            texts += 1
        else:
            why = f"{_codec_name(stream)} has no place in {container.name}"
            left_out.append(_left_out(stream, why))
    for stream in source.of_kind("attachment"):
        if stream.codec in container.copies:
            kept.append(stream)
            options += ["-c:t", "copy"]
        else:
            why = f"{container.name} has no attachments of its kind"
            left_out.append(_left_out(stream, why))
    left_out += _others_left_out(source, film, container)
    if is_rest:
        kept, changes = kept[1:], changes[len(picture.changes) :]
        if later_s := rest_later_s(container):
            options += ["-output_ts_offset", f"{later_s:g}"]
        container = rest_container(container)
    return Encoding(
        [*cut.input_options, *picture.input_options],
        [
            *cut.options,
            *(word for it in kept for word in ("-map", _place(it, texts_cut))),
            *options,
            *raw.options,
            *("-map_metadata", "0", *_tags(kept, container, texts_cut)),
            *("-max_muxing_queue_size", "4096", *container.options, "-f", container.muxer),
        ],
        changes,
        [_kept(stream) for stream in kept],
        left_out,
        picture.number,
        picture.filters,
        [*picture.encoder, *raw.options],
    )


def rest_container(container: Container) -> Container:
    """Return the kind of file in which the rest of a film is, if the film shall be in this kind.

    A transport stream can't tell when its first sound begins.
    """
    return CONTAINERS["mkv"] if container.muxer == "mpegts" else container


def rest_later_s(container: Container) -> float:
    """Return how much later the rest of a film is in its own file than in the film.

    Sound may begin before zero: what its encoder needs to begin. Matroska has no such times, and
    would have all of it later by who knows how much.
    """
    return 1.0 if rest_container(container).muxer in {"matroska", "webm"} else 0.0


def joined_options(
    film: Stream, rest: Sequence[Stream], target: Target, time_base: str
) -> list[str]:
    """Return the options of the output for a film that is joined.

    The first input is its source, the second its picture, and the third, if there is one, the rest,
    of which these streams are taken.
    """
    container = target.container
    flags = "+".join(sorted(it.replace(" ", "_") for it in film.dispositions)) or "default"
    tag = target.codec.tag if container.muxer in _QUICKTIME else ""
    return [
        *("-map", "1:v:0", *(word for it in rest for word in ("-map", f"2:{it.index}"))),
        # Also what sound has before zero.
        *("-c", "copy", "-copypriorss", "1", *(("-tag:v", tag) if tag else ())),
        *("-map_metadata", "0", "-map_chapters", "0"),
        *("-map_metadata:s:0", f"0:s:{film.index}", "-metadata:s:v:0", "alpha_mode="),
        *(
            word
            for place, it in enumerate(rest, start=1)
            for word in (f"-map_metadata:s:{place}", f"2:s:{it.index}")
        ),
        *_tags([film, *rest], container, NOTHING_CUT),
        *("-disposition:v:0", flags),
        *(
            ("-video_track_timescale", time_base.partition("/")[2])
            if container.muxer in _QUICKTIME
            else ()
        ),
        *("-max_muxing_queue_size", "4096", *container.options, "-f", container.muxer),
    ]


def texts_to_cut(source: Source, target: Target, abilities: Abilities, cut: Cut) -> list[Stream]:
    """Return the subtitles that must be cut before the encode: those that are converted."""
    return [
        it
        for it in source.of_kind("subtitle")
        if not cut.is_whole
        and _wants(it, target)
        and _subtitle_codec(it, target.container, abilities, cut) not in {"", "copy"}
    ]


def _is_decodable(stream: Stream, abilities: Abilities) -> bool:
    if stream.kind == "audio" and not (stream.sample_rate and stream.channels):
        return False  # ffmpeg has not found a packet that it understands
    return stream.codec in abilities.decodes


def _loses_its_time(how: str, cut: Cut) -> bool:
    """Whether subtitles would be shown at a wrong time: those from before the clip can't be cut."""
    return not cut.is_whole and (how != "copy" or cut.run_up_s > 0)


def _wants(stream: Stream, target: Target) -> bool:
    subtitles = target.recipe.subtitles
    return subtitles.keep and (
        not subtitles.languages or is_among(stream.language, subtitles.languages)
    )


def _subtitle_codec(stream: Stream, container: Container, abilities: Abilities, cut: Cut) -> str:
    """Return the codec that subtitles get, "copy" to keep them, or "" if they have no place."""
    is_text = stream.codec in _TEXT and stream.codec in abilities.decodes
    if stream.codec in container.copies:
        return "copy" if cut.is_whole or not is_text else _ENCODERS.get(stream.codec, "subrip")
    return container.text if is_text else ""


def _others_left_out(source: Source, film: Stream, container: Container) -> Iterator[str]:
    for stream in source.streams:
        if stream.kind == "video" and stream.index != film.index:
            why = "it is a cover picture" if stream.is_cover else "it is not the first film"
            yield _left_out(stream, why)
        elif stream.kind in {"data", "unknown"} and not _is_made_anew(source, stream, container):
            yield _left_out(stream, f"{_codec_name(stream)} is neither picture, sound nor text")
    if source.chapters and not container.has_chapters:
        yield f"{source.chapters} chapters: {container.name} has none"


def _is_made_anew(source: Source, stream: Stream, container: Container) -> bool:
    """Whether a data stream is what ffmpeg makes of the chapters or of a time code."""
    if stream.tag == "tmcd":
        return container.muxer in _QUICKTIME
    return stream.tag == "text" and source.chapters > 0


def _place(stream: Stream, texts_cut: Mapping[int, int]) -> str:
    """Return where ffmpeg finds a stream: in which input, and as which of its streams."""
    return f"{texts_cut[stream.index]}:0" if stream.index in texts_cut else f"0:{stream.index}"


def _tags(
    kept: Sequence[Stream], container: Container, texts_cut: Mapping[int, int]
) -> Iterator[str]:
    for place, stream in enumerate(kept):
        if stream.index in texts_cut:
            yield from (f"-metadata:s:{place}", f"language={stream.language or 'und'}")
            if stream.title:
                yield from (f"-metadata:s:{place}", f"title={stream.title}")
        for name in stream.tags:
            if name.startswith(_COUNTS):
                yield from (f"-metadata:s:{place}", f"{name}=")
        if stream.title and container.muxer in _QUICKTIME:
            # Where players look for the title of a track.
            yield from (f"-metadata:s:{place}", f"handler_name={stream.title}")
        if container.muxer == "mov" and stream.language in _MACINTOSH:
            yield from (f"-metadata:s:{place}", f"language={_MACINTOSH[stream.language]}")
        if stream.kind in {"audio", "subtitle"}:
            # Else ffmpeg makes the first of a kind the default one.
            flags = "+".join(sorted(it.replace(" ", "_") for it in stream.dispositions))
            yield from (f"-disposition:{place}", flags or "0")


def _instead_of_film(source: Source) -> str:
    if source.of_kind("video"):
        return "has sound with a cover picture"
    if source.of_kind("audio"):
        return "has sound only"
    if source.streams:
        kinds = sorted({stream.kind for stream in source.streams})
        return f"has only {' and '.join(kinds)} streams"
    return "has no streams"


def _left_out(stream: Stream, why: str) -> str:
    return f"{stream.described}: {why}"


def _kept(stream: Stream) -> str:
    return f"{stream.described}: {_codec_name(stream)}"


def _codec_name(stream: Stream) -> str:
    return stream.tag or stream.codec if stream.codec in {"none", ""} else stream.codec
