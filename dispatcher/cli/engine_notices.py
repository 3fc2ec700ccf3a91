"""What an engine tells its operator when it begins: what it does not do, or not as was meant."""

import logging
import os
from collections.abc import Mapping
from typing import Final

from dispatcher.buckets import SCHEMES, Bucket, has_credentials
from dispatcher.engine.codecs import Codec, Encoder
from dispatcher.engine.ffmpeg import Checks
from dispatcher.engine.hardware import HwAccel
from dispatcher.engine.sources import Sources

__all__ = ["tell_of_checks", "tell_of_hardware", "tell_of_sources"]

_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy")

logger = logging.getLogger(__name__)


def tell_of_checks(checks: Checks, engine_id: str) -> None:
    """Tell what is not verified."""
    match checks.verify:
        case "none":
            logger.warning(
                "%s: nothing is verified (--verify none): a source that was cut off may pass",
                engine_id,
            )
        case "packets" | "full" if checks.pyav is None:
            logger.warning(
                "%s: the ends of sources are not decoded, as PyAV is not installed: a transport "
                "stream that was cut off may pass; pip install 'transcoding-dispatcher[engine]'",
                engine_id,
            )
        case _:
            pass


def tell_of_hardware(
    encoders: Mapping[str, tuple[Codec, Encoder]], hwaccel: HwAccel, engine_id: str
) -> None:
    """Tell what encodes, where hardware was asked for."""
    if hwaccel == "none":
        return
    by_hardware = sorted(
        {encoder.name for codec, encoder in encoders.values()
         if encoder not in codec.encoders}
    )  # fmt: skip
    if by_hardware:
        logger.info(
            "%s: hardware encodes by %s; software does the other codecs",
            *(engine_id, ", ".join(by_hardware)),
        )
    else:
        logger.warning(
            "%s: software encodes everything: --hwaccel %s found no hardware that this ffmpeg can "
            "encode by",
            *(engine_id, hwaccel),
        )


def tell_of_sources(sources: Sources, engine_id: str) -> None:
    """Tell what an operator may have meant otherwise."""
    for root in sources.roots:
        if not root.is_dir():
            logger.warning("%s: --source-root %s is no directory at present", engine_id, root)
    for bucket in sources.buckets:
        Bucket(bucket)  # says so if it can't be opened
    narrowed = {it.scheme for it in sources.buckets}
    of_all = [it for it in SCHEMES if has_credentials(it)]
    if not_narrowed := [it for it in of_all if it not in narrowed]:
        logger.info(
            "%s: sources may be all that the credentials in the environment permit at %s; "
            "--source-root narrows it",
            *(engine_id, ", ".join(f"{it}://" for it in not_narrowed)),
        )
    set_here = [name for name in os.environ if name.lower() in _PROXIES]
    if set_here:
        logger.warning(
            "%s: sources are fetched without a proxy: %s is not used, as the addresses behind a "
            "proxy can't be checked",
            *(engine_id, ", ".join(set_here)),
        )
