"""The options that a recipe may give ffmpeg as they are, if the engine permits that at all.

They come from whoever may submit a job, so they are judged as a stranger's.

Laws:
- Each is an option with its value. An option that takes no value would make its value an output.
- None chooses what is read, what is written, which streams or which part of them: the engine does,
  and verifies it.
- No value names a file or an address. Filters that read files are refused.
- What is not refused here is still confined by the sandbox.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from dispatcher.engine.ffmpeg_errors import FfmpegError

__all__ = ["NO_RAW", "Raw", "raw_of"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Options of ffmpeg itself, also those that only print something; those of codecs, which are
# hundreds, all take a value. "no" before one that takes none is refused too.
_REFUSED: Final = _words(
    """
    abort_on accurate_seek acodec aframes an apre atag attach auto_conversion_filters autorotate
    autoscale benchmark benchmark_all bitexact bsfs buildconf c codec codecs colors copy_unknown
    copyinkf copypriorss copytb copyts cpucount cpuflags dcodec debug_ts decoders deinterlace
    demuxers devices dframes discard display_hflip display_vflip disposition dispositions dn dump
    dump_attachment enc_time_base encoders f fflags filter_buffered_frames filter_complex
    filter_complex_script filter_complex_threads filter_hw_device filter_script filter_threads
    filters find_stream_info fix_sub_duration fix_sub_duration_heartbeat flush_packets force_fps
    format format_whitelist formats fpre fps_mode frames fs h help hex hide_banner hwaccel
    hwaccel_device hwaccel_output_format hwaccels i ignore_unknown init_hw_device intra isync
    itsoffset itsscale lavfi layouts license loglevel map map_channel map_chapters map_metadata
    max_alloc max_error_rate max_muxing_queue_size metadata movflags muxers n pass pix_fmt pix_fmts
    pre print_graphs print_graphs_file print_graphs_format program progress protocol_blacklist
    protocol_whitelist protocols psnr qphist qsv_device r re readrate recast_media reinit_filter
    report s same_quant sameq sample_fmts scodec seek_timestamp shortest sinks sn sources spre ss
    sseof start_at_zero stats stats_period stdin stream_group stream_loop t tag target
    thread_queue_size timelimit timestamp to v vaapi_device vcodec version vframes vn vol vpre
    vstats vstats_version vsync vtag xerror y
    """
)
_FILTERS: Final = _words(
    """
    atadenoise bilateral bm3d boxblur bwdif cas chromanr colorbalance colorchannelmixer
    colorcorrect colorlevels colortemperature crop deband deblock dedot deflicker dejudder delogo
    detelecine dctdnoiz drawbox drawgrid eq exposure fade fieldmatch fftdnoiz fillborders fspp
    gblur gradfun grayworld hflip hqdn3d hue huesaturation kerndeint lenscorrection limiter
    monochrome negate nlmeans noise normalize owdenoise pad phase pp pp7 pullup removegrain rotate
    scale selectivecolor setparams setsar shear smartblur spp tmedian tmix transpose unsharp
    vaguedenoiser vflip vibrance vignette w3fdif yadif zscale
    acompressor acrossover adeclick adeclip aecho aeval afade afftdn agate aformat alimiter
    allpass anequalizer anlmdn aresample asetnsamples bandpass bandreject bass biquad
    channelmap compand crossfeed dcshift deesser dialoguenhance dynaudnorm earwax equalizer
    extrastereo highpass highshelf loudnorm lowpass lowshelf pan speechnorm stereotools
    stereowiden superequalizer treble volume
    """
)
"""Those that take one input and give one output, and read no file, command or address."""
_OPTION: Final = re.compile(r"-([a-z][\w-]*)(:[\w:]+)?", re.ASCII)
_FRACTION: Final = re.compile(r"(?<=\d)/(?=\d)")
_DIVISION: Final = re.compile(r"(?<=[\w)])/(?=\d)", re.ASCII)
_PATHS: Final = re.compile(r"[/\\]|\.\.|^(file|pipe|fd|data|concat|crypto|subfile|async|cache)\w*:")
_FILES_OF_CODECS: Final = re.compile(
    r"(^|:)-*[\w-]*((?<!pro)file|stats|stat[-_]|csv|dump|save|load|reuse|recon|dhdr10|log$|log=|cqm|output|"
    r"input|table|path|rpu|clbin|outdir|prefix|model|debug=|roi=|"
    # Of these a number or a word is none.
    r"film[-_]grain(?!([-_](denoise|test))?=\d+(:|$))|"
    r"scaling[-_]list(?!=(off|flat|default|[012])(:|$)))"
)
"""Names of codecs' and libraries' options that may be, or hold, the name of a file."""
_FILTER: Final = re.compile(r"(?:^|(?<!\\),)\s*([^=,]*)")
_PICTURE: Final = frozenset({"vf", "filter:v"})
_SOUND: Final = frozenset({"af", "filter:a"})


class Raw(msgspec.Struct, frozen=True):
    """Filters for the picture and for each track of sound, other options, and libraries' own."""

    picture_filters: tuple[str, ...] = ()
    sound_filters: tuple[str, ...] = ()
    params: Mapping[str, str] = {}
    options: tuple[str, ...] = ()


NO_RAW: Final = Raw()


def raw_of(arguments: Sequence[str]) -> Raw:
    """Sort the arguments of a recipe. Raises `FfmpegError` for one that is refused."""
    if len(arguments) % 2:
        raise _refused(arguments[-1], "each option must be followed by its value")
    picture, sound, options = list[str](), list[str](), list[str]()
    params = dict[str, str]()
    for option, value in zip(arguments[::2], arguments[1::2], strict=True):
        name = _checked_name(option)
        _check_value(option, value)
        if option[1:] in _PICTURE:
            picture.append(_checked_filters(option, value))
        elif option[1:] in _SOUND:
            sound.append(_checked_filters(option, value))
        elif name.startswith("filter") or name in {"vf", "af"}:
            raise _refused(option, "filters are given with -vf and -af")
        elif name.endswith(("-params", "opts")):
            if _FILES_OF_CODECS.search(value):
                raise _refused(option, f"{value!r} reads or writes a file")
            params[option] = f"{params[option]}:{value}" if option in params else value
        else:
            options += [option, value]
    return Raw(tuple(picture), tuple(sound), params, tuple(options))


def _checked_name(option: str) -> str:
    if (found := _OPTION.fullmatch(option)) is None:
        raise _refused(option, "it is no option such as -tune or -b:a")
    name = found[1]
    if name in _REFUSED or name.removeprefix("no") in _REFUSED:
        raise _refused(option, "it is for the engine to set, or takes no value")
    if _FILES_OF_CODECS.search(name):
        raise _refused(option, "it reads or writes a file")
    return name


def _check_value(option: str, value: str) -> None:
    quotient = _DIVISION if option[1:] in _PICTURE | _SOUND else _FRACTION
    if "\0" in value or _PATHS.search(quotient.sub("", value)):
        raise _refused(option, f"{value!r} could be the name of a file or an address")


def _checked_filters(option: str, chain: str) -> str:
    if set(chain) & set("[];'"):
        raise _refused(option, "filters are one chain, without quotes, labels or semicolons")
    for name in _FILTER.findall(chain):
        if name.strip() not in _FILTERS:
            raise _refused(option, f"{name.strip()!r} is no filter that recipes may use")
    return chain


def _refused(argument: str, why: str) -> FfmpegError:
    return FfmpegError(
        f"the recipe's 'ffmpeg_args' are refused at {argument!r}: {why}", cause="source_bad"
    )
