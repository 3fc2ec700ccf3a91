"""Measure how near a recipe's `vmaf` comes, over whole films, and what its search costs.

    .venv/bin/python scripts/vmaf.py [--codecs h264,av1] [--length-s 60] [--size 1280x720]

It makes three films: one with grain, one of unlike scenes with hard cuts, and one in HDR. Each is
encoded with a target, and again with the CRF that was found; the difference in CPU time of all
processes is what the search has cost. docs/media.md has figures.
"""

import argparse
import asyncio
import re
import resource
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from dispatcher.engine.ffmpeg import Ffmpeg, Input, find_ffmpeg
from dispatcher.engine.sources import FILE_PROTOCOLS
from dispatcher.engine.transcoding import transcode
from dispatcher.recipes import recipe_of

SCORED: Final = (
    "[0:v]settb=1/25,setpts=N[a];[1:v]settb=1/25,setpts=N[b];"
    "[a][b]libvmaf=n_threads=2:shortest=1:repeatlast=0"
)
LIGHT: Final = "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv"


def ran(ffmpeg: Path, *arguments: str | Path) -> str:
    """Run ffmpeg and return what it says."""
    command = [ffmpeg, "-hide_banner", "-nostdin", "-y", *arguments]
    return subprocess.run(command, capture_output=True, check=True, text=True).stderr


def make_films(ffmpeg: Path, folder: Path, size: str, length_s: float) -> list[Path]:
    """Make the three films."""
    of = f"s={size}:r=25"
    zoom = f"mandelbrot={of}:start_scale=2:end_scale=0.1:end_pts=1500,noise=alls=6:allf=t"
    shots = [
        (f"testsrc2={of}", 0.15),
        (f"{zoom}", 0.22),
        (
            f"life=s=320x180:r=25:mold=10:ratio=0.2:seed=7,scale={size.replace('x', ':')},gblur=2",
            0.08,
        ),
        (f"gradients={of}:n=4:seed=3,noise=alls=16:allf=t", 0.1),
        (f"mandelbrot={of}:start_scale=0.01:end_scale=0.001", 0.23),
        (f"gradients={of}:n=6:seed=9:speed=0.05,hue=s=2", 0.22),
    ]
    joined = ";".join(
        f"{shot},trim=duration={length_s * part},format=yuv420p,setsar=1[s{number}]"
        for number, (shot, part) in enumerate(shots)
    )
    names = "".join(f"[s{number}]" for number in range(len(shots)))
    bright = f"gradients={of}:n=5:seed=7:speed=0.02,format=yuv420p10le,noise=alls=4:allf=t,{LIGHT}"
    plain = ("-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-crf", "12",
             "-g", "50")  # fmt: skip
    deep = ("-c:v", "libx265", "-preset", "ultrafast", "-crf", "12",
            "-x265-params", "log-level=error:keyint=50")  # fmt: skip
    films = [folder / f"{name}.mp4" for name in ("grain", "cuts", "hdr")]
    until = ("-t", str(length_s))
    ran(ffmpeg, "-f", "lavfi", "-i", zoom, *until, *plain, films[0])
    ran(ffmpeg, "-filter_complex", f"{joined};{names}concat=n={len(shots)}", *plain, films[1])
    ran(ffmpeg, "-f", "lavfi", "-i", bright, *until, *deep, films[2])
    return films


def used_s() -> float:
    """Return the CPU time of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def measure(ffmpeg: Ffmpeg, film: Path, codec: str, target: float) -> str:
    """Encode one film by one codec, and return a row of the table."""
    source, output = Input(f"file:{film}", FILE_PROTOCOLS), film.with_name("output")
    began_s = used_s()
    result = await transcode(ffmpeg, source, codec, output, recipe=recipe_of({"vmaf": target}))
    searched_s = used_s() - began_s
    told = ran(ffmpeg.path, "-i", output, "-i", film, "-lavfi", SCORED, "-f", "null", "-")
    found = re.search(r"VMAF score: ([\d.]+)", told)
    began_s = used_s()
    await transcode(ffmpeg, source, codec, output, recipe=recipe_of({"crf": result.crf}))
    encode_s = used_s() - began_s
    whole = float(found[1]) if found else 0.0
    cost = (searched_s - encode_s) / encode_s
    return (
        f"| {film.stem} | {codec} | {result.crf:g} | {result.vmaf:.1f} | {whole:.1f} | "
        f"{cost:.0%} of {encode_s:.0f} s |"
    )


async def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--codecs", default="h264,hevc,av1,vp9")
    parser.add_argument("--length-s", type=float, default=60)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--vmaf", type=float, default=93)
    parser.add_argument("--films", default="grain,cuts,hdr")
    parser.add_argument("--ffmpeg")
    asked = parser.parse_args()
    ffmpeg = await Ffmpeg.probe(find_ffmpeg(asked.ffmpeg))
    print("| film | codec | CRF | samples | whole | search, of an encode's CPU |", flush=True)
    print("|---|---|---|---|---|---|", flush=True)
    with TemporaryDirectory() as folder:
        films = make_films(ffmpeg.path, Path(folder), asked.size, asked.length_s)
        for film in films:
            for codec in asked.codecs.split(","):
                # A codec of 8 bits would tone-map HDR: there is nothing to compare it with.
                if film.stem in asked.films and not (film.stem == "hdr" and codec == "h264"):
                    print(await measure(ffmpeg, film, codec, asked.vmaf), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
