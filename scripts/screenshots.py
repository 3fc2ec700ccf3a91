#!/usr/bin/env python3
"""Take pictures of the board for docs/board.md, from a farm of twelve engines with a day behind it.

    scripts/screenshots.py                 # writes docs/board/*.png
    scripts/screenshots.py --out FOLDER

The farm's past is made by the dispatcher's own rules (`showing.day`), and its engines work on while
the pictures are taken (`showing.living`): one is blocked, one silent, one drained.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

ROOT = Path(__file__).resolve().parent.parent
python = ROOT / ".venv/bin/python"
if Path(sys.prefix) != python.parent.parent and python.exists():
    os.execv(python, [str(python), *sys.argv])  # noqa: S606 - the project's own interpreter

from playwright.async_api import Page  # noqa: E402 - see above

from benching.processes import HOST, KEY, dispatcher  # noqa: E402
from dispatcher.client import Client  # noqa: E402
from showing.chromium import NoChromiumError, started  # noqa: E402
from showing.day import Plan, write  # noqa: E402
from showing.living import at_work  # noqa: E402
from showing.looking import browser_at, drawn, signed_in  # noqa: E402

OUT: Final = ROOT / "docs/board"
BEAT_S: Final = 2.0
CHART: Final = "board-farm svg.chart-plot"
EARLIER: Final = timedelta(hours=13)
"""How long before now the picture of the past is."""
DESK: Final = {"width": 1280, "height": 800}
PHONE: Final = {"width": 360, "height": 740}
WALL: Final = {"width": 2560, "height": 1440}


class Shot(NamedTuple):
    """A picture: its name, what it is of, and how it is seen."""

    name: str
    path: str
    viewport: dict[str, int] = DESK
    color_scheme: str = "light"
    scale: int = 1


def shots(job_id: str, engine_id: str) -> list[Shot]:
    """List the pictures; one is of a job, and one of an engine."""
    job, engine = f"/?view=job&id={job_id}", f"/?view=engine&id={engine_id}"
    finished = "/?view=jobs&status=failed_permanently,completed&order=newest"
    return [
        Shot("farm-light", "/"),
        Shot("farm-dark", "/", color_scheme="dark"),
        Shot("farm-phone", "/", PHONE, scale=2),
        Shot("farm-wall", "/?wall=1", WALL, "dark"),
        Shot("farm-past", f"/?as_of={datetime.now(UTC) - EARLIER:%Y-%m-%dT%H:%M:%SZ}"),
        Shot("jobs-light", finished),
        Shot("engines-dark", "/?view=engines", color_scheme="dark"),
        Shot("job-light", job),
        Shot("job-phone", job, PHONE, "dark", 2),
        Shot("engine-light", engine),
        Shot("log-dark", "/?view=log", color_scheme="dark"),
        Shot("submit-light", "/?view=submit"),
    ]


async def main(out: Path) -> None:
    """Make the farm, and take the pictures."""
    with tempfile.TemporaryDirectory(prefix="screenshots-") as temporary:
        folder = Path(temporary)
        db = folder / "events.db"
        await write(db, Plan(), datetime.now(UTC))
        with dispatcher(db) as server, started(folder / "profile") as devtools:
            url = f"http://{HOST}:{server.port}"
            async with (
                Client(url, KEY) as client,
                at_work(client, beat_s=BEAT_S, job_every_s=20),
                browser_at(devtools) as browser,
            ):
                out.mkdir(parents=True, exist_ok=True)
                for shot in shots(await retried(client), "farm-11"):
                    settings: dict[str, Any] = {
                        "viewport": shot.viewport,
                        "color_scheme": shot.color_scheme,
                        "device_scale_factor": shot.scale,
                        "reduced_motion": "reduce",
                    }
                    async with signed_in(browser, client, url, **settings) as (_, page):
                        await take(page, shot, out)


async def take(page: Page, shot: Shot, out: Path) -> None:
    """Take one picture."""
    await page.goto(shot.path)
    view = parse_qs(urlsplit(shot.path).query).get("view", ["farm"])[0]
    if view == "farm" and shot.viewport != PHONE:
        await page.locator(CHART).first.wait_for()
    await drawn(page, f"board-{view}")
    path = out / f"{shot.name}.png"
    await page.screenshot(path=path)
    print(f"{path} ({path.stat().st_size / 1e3:,.0f} kB)")


async def retried(client: Client) -> str:
    """Find a job that succeeded at a later attempt: its page has most to show."""
    done = await client.jobs(status="completed", newest=True, limit=200)
    return max(done, key=lambda job: job.attempt).job_id


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=OUT, help="the folder, docs/board by default")
    try:
        asyncio.run(main(parser.parse_args().out))
    except NoChromiumError as error:
        sys.exit(f"screenshots: {error}")
