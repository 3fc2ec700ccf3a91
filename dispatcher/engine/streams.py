"""What a source has, read from the report that ffmpeg prints of every input that it opens.

Laws:
- The text of ffmpeg 5 to 9 is read, without ffprobe: Python packages of ffmpeg have none.
- What is not understood is left empty. No text makes this fail.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, Literal, TypeAlias

import msgspec

__all__ = ["Kind", "Source", "Stream", "channels_of", "may_be_still", "source_of"]

Kind: TypeAlias = Literal["video", "audio", "subtitle", "data", "attachment", "unknown"]


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """One stream of a source. Fields that are not of its kind, or not known, are empty.

    `tag` is the codec's name in the container. `colours` are matrix, primaries and transfer, in
    the order in which ffmpeg tells them. `side_data` are ffmpeg's lines, such as a rotation.
    """

    index: int
    kind: Kind
    codec: str
    tag: str = ""
    language: str = ""
    dispositions: frozenset[str] = frozenset()
    tags: Mapping[str, str] = {}
    side_data: tuple[str, ...] = ()
    pixels: str = ""
    full_range: bool = False
    colours: tuple[str, str, str] = ("unknown", "unknown", "unknown")
    field_order: str = ""
    width: int = 0
    height: int = 0
    aspect: tuple[int, int] = (1, 1)
    fps: float = 0
    base_fps: float = 0
    sample_rate: int = 0
    layout: str = ""

    @property
    def title(self) -> str:
        """Its title, or an empty text."""
        return self.tags.get("title", "")

    @property
    def channels(self) -> int:
        """How many channels its sound has; 0 if that is not known."""
        return channels_of(self.layout)

    @property
    def is_cover(self) -> bool:
        """Whether it is one picture that goes with the film, not the film."""
        return bool(self.dispositions & {"attached pic", "timed thumbnails"})

    @property
    def is_interlaced(self) -> bool:
        """Whether its frames are flagged as two fields of different times."""
        return "first" in self.field_order

    @property
    def transfer(self) -> str:
        """The transfer characteristics: how samples become light."""
        return self.colours[2]

    @property
    def described(self) -> str:
        """Its name in a sentence: `audio stream 2 (eng, Commentary)`."""
        told = ", ".join(filter(None, (self.language, self.title)))
        return f"{self.kind} stream {self.index}" + (f" ({told})" if told else "")


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A source: its demuxer's name, length, tags, chapters and streams, ordered by index."""

    demuxer: str
    duration_s: float | None = None
    start_s: float = 0
    tags: Mapping[str, str] = {}
    chapters: int = 0
    streams: tuple[Stream, ...] = ()

    def of_kind(self, kind: Kind) -> list[Stream]:
        """Return the streams of a kind."""
        return [stream for stream in self.streams if stream.kind == kind]


_INPUT: Final = re.compile(r"Input #0, (.*?), from ")
_STREAM: Final = re.compile(
    r"\s+Stream #0:(\d+)(?:\[0x[0-9a-f]+\])?(?:\(([^)]*)\))?: "
    r"(Video|Audio|Subtitle|Data|Attachment|Unknown): (.*)"
)
_DURATION: Final = re.compile(r"\s+Duration: (?:(\d+):(\d\d):(\d\d(?:\.\d+)?)|N/A)")
_START: Final = re.compile(r"Duration: .*, start: (-?[\d.]+)")
_TAG: Final = re.compile(r"\s+(\S.*?)\s*: (.*)")
_DISPOSITION: Final = re.compile(
    r" \((default|dub|original|comment|lyrics|karaoke|forced|hearing impaired|visual impaired|"
    r"clean effects|attached pic|timed thumbnails|non-diegetic|captions|descriptions|metadata|"
    r"dependent|still image|multilayer)\)$"
)
# Commas in brackets, such as those of `yuv420p(tv, bt709)`, do not end a part.
_PARTS: Final = re.compile(r"(?:[^,(\[]|\([^)]*\)(?:\))?|\[[^\]]*\])+")
_FIELD_ORDERS: Final = ("progressive", "top ", "bottom ")
_CHROMA_PLACES: Final = frozenset({"left", "center", "topleft", "top", "bottomleft", "bottom"})
_PICTURES: Final = frozenset(
    ["mjpeg", "png", "apng", "gif", "webp", "bmp", "tiff", "jpeg2000", "jpegxl", "jpegls"]
)
_PICTURE_BRANDS: Final = frozenset({"avif", "heic", "heix", "heim", "heis", "mif1"})
_SHORT_S: Final = 0.1
_THOUSANDS: Final = {"": 1.0, "k": 1_000.0}


def source_of(report: str) -> Source | None:
    """Read ffmpeg's report of its input; `None` if there is none, as it can't be opened."""
    lines = iter(report.splitlines())
    for line in lines:
        if found := _INPUT.match(line):
            return _source(found[1], lines)
    return None


def may_be_still(source: Source, stream: Stream) -> bool:
    """Whether a video stream may be one picture: only its second packet can tell."""
    return (
        stream.codec in _PICTURES
        or not source.duration_s
        or source.duration_s < _SHORT_S
        or source.tags.get("major_brand", "").strip() in _PICTURE_BRANDS
    )


def channels_of(layout: str) -> int:
    """Return how many channels a layout has, by the name that ffmpeg gives it; 0 if unknown."""
    name = layout.partition("(")[0].strip()
    if found := re.match(r"(\d+) channels", name):
        return int(found[1])
    if found := re.match(r"ambisonic (\d+)", name):
        return (int(found[1]) + 1) ** 2
    if re.fullmatch(r"\d+(\.\d+)+", name):  # 5.1.2: around, bass, above
        return sum(int(number) for number in name.split("."))
    return _NAMED_LAYOUTS.get(name, 0)


_NAMED_LAYOUTS: Final = {
    "mono": 1,
    "stereo": 2,
    "downmix": 2,
    "binaural": 2,
    "quad": 4,
    "hexagonal": 6,
    "octagonal": 8,
    "cube": 8,
    "hexadecagonal": 16,
}


def _source(demuxer: str, lines: Iterator[str]) -> Source:
    duration_s, start_s, chapters = None, 0.0, 0
    tags: dict[str, str] = {}
    streams: dict[int, Stream] = {}
    section, current = tags, ""
    sides: dict[int, list[str]] = {}
    index = -1
    for line in lines:
        word = line.strip()
        if line[:1] != " ":
            if streams and re.match(r"Stream mapping|Output #0|At least one output", line):
                break
            continue  # what else ffmpeg logs meanwhile
        if found := _STREAM.match(line):
            index = int(found[1])
            section, current = {}, ""
            # Groups and programs name a stream again.
            streams.setdefault(index, _stream(found, section))
        elif found := _DURATION.match(line):
            if found[1] is not None:
                duration_s = int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
            if begun := _START.search(line):
                start_s = float(begun[1])
        elif re.match(r"Chapter #0:\d+:", word):
            chapters += 1
            section, current, index = {}, "", -1
        elif re.match(r"(Program|Stream group) [#\d]", word):
            section, current, index = {}, "", -1
        elif word in {"Metadata:", "Side data:"}:
            current = word
        elif current == "Metadata:" and (found := _TAG.match(line)):
            section.setdefault(found[1], found[2])
        elif current == "Side data:":
            sides.setdefault(index, []).append(word)
    return Source(
        demuxer=demuxer,
        duration_s=duration_s,
        start_s=start_s,
        tags=tags,
        chapters=chapters,
        streams=tuple(
            msgspec.structs.replace(stream, side_data=tuple(sides.get(index, ())))
            for index, stream in sorted(streams.items())
        ),
    )


def _stream(found: re.Match[str], tags: Mapping[str, str]) -> Stream:
    language, kind, told = found[2] or "", found[3].lower(), found[4]
    dispositions = set()
    while flag := _DISPOSITION.search(told):
        dispositions.add(flag[1])
        told = told[: flag.start()]
    codec, *parts = [part.strip() for part in _PARTS.findall(told)] or [""]
    name, _, more = codec.partition(" ")
    tag = re.search(r"\((\S+) / 0x[0-9A-F]+\)", more)
    plain = Stream(
        index=int(found[1]),
        kind=msgspec.convert(kind, Kind),
        codec=name,
        tag=tag[1] if tag else "",
        language="" if language == "und" else language,
        dispositions=frozenset(dispositions),
        tags=tags,
    )
    match kind:
        case "video":
            return _video(plain, parts)
        case "audio":
            return _audio(plain, parts)
        case _:
            return plain


def _audio(stream: Stream, parts: list[str]) -> Stream:
    for place, part in enumerate(parts):
        if found := re.fullmatch(r"(\d+) Hz", part):
            layout = parts[place + 1] if len(parts) > place + 1 else ""
            return msgspec.structs.replace(stream, sample_rate=int(found[1]), layout=layout)
    return stream


def _video(stream: Stream, parts: list[str]) -> Stream:
    fields: dict[str, object] = {}
    for place, part in enumerate(parts):
        if found := re.match(r"(\d+)x(\d+)(?: |$)", part):
            fields |= {"width": int(found[1]), "height": int(found[2])}
        elif place == 0 and (found := re.fullmatch(r"(\w+)(?:\((.*)\))?", part)):
            fields |= _pixels(found[1], found[2] or "")
        elif found := re.match(r"([\d.]+)(k?) (fps|tbr)$", part):
            name = "fps" if found[3] == "fps" else "base_fps"
            fields[name] = float(found[1]) * _THOUSANDS[found[2]]
        if (found := re.search(r"SAR (\d+):(\d+)", part)) and int(found[1]) and int(found[2]):
            fields["aspect"] = (int(found[1]), int(found[2]))
    return msgspec.structs.replace(stream, **fields)


def _pixels(name: str, details: str) -> dict[str, object]:
    told: dict[str, object] = {
        "pixels": "" if name == "none" else name,
        "full_range": name.startswith("yuvj"),
    }
    for detail in filter(None, details.split(", ")):
        if detail in {"tv", "pc"}:
            told["full_range"] = detail == "pc"
        elif detail.startswith(_FIELD_ORDERS):
            told["field_order"] = detail
        elif detail.count("/") == 2:  # noqa: PLR2004 - three names
            told["colours"] = tuple(detail.split("/"))
        elif detail not in _CHROMA_PLACES and re.fullmatch(r"[a-z][\w-]*", detail):
            told["colours"] = (detail, detail, detail)
    return told
