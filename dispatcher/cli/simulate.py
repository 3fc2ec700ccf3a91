"""`dispatcher simulate`."""

import gc
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

import typer
from rich.console import Console

from dispatcher.cli.options import AsJson
from dispatcher.cli.output import print_lines, say
from dispatcher.simulation.plan import FAULTS, Plan, PlanError

__all__ = ["simulate"]

_USUAL: Final = Plan()


def simulate(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    engines: Annotated[int, typer.Option(help="How many engines the farm has.")] = _USUAL.engines,
    hours: Annotated[float, typer.Option(help="How long its day is.")] = _USUAL.hours,
    seed: Annotated[int, typer.Option(help="What all chance follows from.")] = _USUAL.seed,
    jobs_per_hour: Annotated[
        float,
        typer.Option(
            help="Jobs that come in the busiest hour; 0 takes what keeps 80 % of the farm at work."
        ),
    ] = _USUAL.jobs_per_hour,
    mean_mb: Annotated[float, typer.Option(help="The mean size of a job.")] = _USUAL.mean_mb,
    mb_per_s: Annotated[
        float,
        typer.Option(help="MB of source that a middling engine makes into h264 in a second."),
    ] = _USUAL.mb_per_s,
    mix: Annotated[
        str, typer.Option(metavar="CODEC=SHARE,...", help="Codecs with their shares of the jobs.")
    ] = _USUAL.mix,
    split_share: Annotated[
        float, typer.Option(help="The share of the jobs that are films to be split.")
    ] = _USUAL.split_share,
    heartbeat_s: Annotated[
        float,
        typer.Option(
            help="Pause between two heartbeats; 0 takes a minute, or longer on a large farm."
        ),
    ] = _USUAL.heartbeat_s,
    lease_s: Annotated[
        float, typer.Option(help="The dispatcher's --lease-s; 0 takes three heartbeats.")
    ] = _USUAL.lease_s,
    wait_s: Annotated[float, typer.Option(help="How long an ask waits for a job.")] = _USUAL.wait_s,
    job_timeout_s: Annotated[
        float, typer.Option(help="The dispatcher's --job-timeout-s.")
    ] = _USUAL.job_timeout_s,
    retry_backoff_s: Annotated[
        float, typer.Option(help="The dispatcher's --retry-backoff-s.")
    ] = _USUAL.retry_backoff_s,
    block_after: Annotated[
        int, typer.Option(help="The dispatcher's --block-after.")
    ] = _USUAL.block_after,
    film_mb: Annotated[
        float,
        typer.Option(
            help="Instead of a day, one film of so many MB: how soon all engines have it ready."
        ),
    ] = _USUAL.film_mb,
    faults: Annotated[
        str, typer.Option(metavar="|".join(FAULTS), help="How much goes wrong.")
    ] = _USUAL.faults,
    as_json: AsJson = False,
) -> None:
    """Run a whole farm for a day in simulated time, to plan one. Needs no dispatcher and no log.

    The same options give the same run. If it breaks a rule, tells how and exits with 1.
    """
    try:
        plan = Plan(
            engines=engines,
            hours=hours,
            seed=seed,
            jobs_per_hour=jobs_per_hour,
            mean_mb=mean_mb,
            mb_per_s=mb_per_s,
            mix=mix,
            split_share=split_share,
            heartbeat_s=heartbeat_s,
            lease_s=lease_s,
            wait_s=wait_s,
            job_timeout_s=job_timeout_s,
            retry_backoff_s=retry_backoff_s,
            block_after=block_after,
            film_mb=film_mb,
            faults=faults,
        )
    except PlanError as error:
        raise typer.BadParameter(str(error)) from None
    # Importing the simulation takes a tenth as long as most other commands take to run.
    from dispatcher.simulation import farm, one_film, report  # noqa: PLC0415

    began = time.perf_counter()
    if plan.film_mb:
        try:
            with _quick_and_quiet():
                times = one_film.times_of_one_film(plan)
        except PlanError as error:
            raise typer.BadParameter(str(error)) from None
        if as_json:
            print_lines(report.film_as_json(plan, times))
        else:
            report.show_film(Console(), plan, times)
        return
    try:
        with _quick_and_quiet():
            outcome = farm.simulate(plan)
    except farm.FailedError as failed:
        for line in str(failed).splitlines():
            say(line)
        raise typer.Exit(1) from None
    took_s = time.perf_counter() - began
    if as_json:
        print_lines(report.as_json(plan, outcome, took_s))
    else:
        report.show(Console(), plan, outcome, took_s)


@contextmanager
def _quick_and_quiet() -> Iterator[None]:
    """Collect garbage rarely and log no warnings until the block ends."""
    silenced, thresholds = logging.root.manager.disable, gc.get_threshold()
    logging.disable(logging.WARNING)  # the timers warn of every stall
    gc.set_threshold(100_000, 50, 100)  # nearly all new objects live on
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        logging.disable(silenced)
