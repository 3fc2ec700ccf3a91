"""The report of a run: a table for people, JSON for programs."""

from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from dispatcher.simulation.farm import Outcome
from dispatcher.simulation.one_film import FilmTimes
from dispatcher.simulation.plan import Plan
from dispatcher.simulation.tally import Hour

__all__ = ["as_json", "show"]

_BARS = " ▁▂▃▄▅▆▇█"


def as_json(plan: Plan, outcome: Outcome, took_s: float) -> bytes:
    """Return everything as one JSON object."""
    report: dict[str, Any] = {
        "plan": plan,
        "heartbeat_s": plan.beats_every_s,
        "lease_s": plan.leased_s,
        "outcome": outcome,
        "took_s": round(took_s, 3),
    }
    return msgspec.json.format(msgspec.json.encode(report), indent=2)


def show(console: Console, plan: Plan, outcome: Outcome, took_s: float) -> None:
    """Print the results that matter for planning."""
    day = outcome.day
    table = Table(
        title=f"{plan.engines:,} engines, {plan.hours:g} hours, seed {plan.seed}",
        show_header=False,
    )
    for name, value in _rows(plan, outcome):
        if name:
            table.add_row(name, value)
        else:
            table.add_section()
    console.print(table)
    rate = outcome.events / max(took_s, 0.001)
    console.print(
        f"{outcome.events:,} events of {outcome.steps:,} commands in {took_s:.1f} s: {rate:,.0f} "
        f"events a second; each was checked, and the whole farm every hour.\n"
        f"Every engine sent a heartbeat every {plan.beats_every_s:g} s "
        f"(lease {plan.leased_s:g} s); one with nothing to do asked once in {plan.wait_s:g} s.\n"
        f"The same again, with the same digest {outcome.digest[:16]}: {plan.command_line()}",
        highlight=False,
        soft_wrap=True,
    )
    if outcome.backlog:
        console.print(
            f"[bold]The farm is too small[/]: a week after its day {outcome.backlog:,} jobs were "
            "not done yet."
        )
    elif len(day.hours) > 1 and day.hours[-1].waiting > outcome.jobs_per_hour:
        console.print("[bold]At the end of the day more than an hour's jobs were waiting.[/]")


def film_as_json(plan: Plan, times: FilmTimes) -> bytes:
    """Return the times of one film as a JSON object."""
    told = {"plan": plan, "film": times, "times_sooner": round(times.times_sooner, 2)}
    return msgspec.json.format(msgspec.json.encode(told), indent=2)


def show_film(console: Console, plan: Plan, times: FilmTimes) -> None:
    """Print how soon one film is ready."""
    table = Table(title=f"A film of {plan.film_mb:,g} MB", show_header=False)
    table.add_row("whole, on 1 engine", _hours(times.whole_on_one_s))
    table.add_row(f"in {times.segments} segments, on 1 engine", _hours(times.parts_on_one_s))
    all_of_them = f"in {times.segments} segments, on {plan.engines:,} engines"
    table.add_row(all_of_them, _hours(times.parts_on_all_s))
    console.print(table)
    console.print(
        f"{plan.engines:,} engines have it ready {times.times_sooner:.1f} times as soon as one "
        f"that encodes it whole.\nThe same again: {plan.command_line()}",
        highlight=False,
        soft_wrap=True,
    )


def _hours(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours} h {minute:02} min {second:02} s"


def _rows(plan: Plan, outcome: Outcome) -> list[tuple[str, str]]:
    day, hours = outcome.day, outcome.day.hours
    submitted = sum(hour.submitted for hour in hours)
    completed = [hour.completed for hour in hours]
    worked_s = sum(day.worked_s.values()) or 1.0
    wasted = (fate for fate in day.worked_s if fate not in {"useful", "under way"})
    return [
        ("jobs submitted", f"{submitted:,} (at most {outcome.jobs_per_hour:,.0f} an hour)"),
        *((status.replace("_", " "), f"{count:,}") for status, count in day.jobs.items()),
        ("", ""),
        ("completed an hour", f"{sum(completed) / plan.hours:,.1f}, at best {max(completed):,}"),
        ("  hour by hour", _bars(completed)),
        ("waiting, hour by hour", _waiting(hours)),
        ("wait for an engine", _waits(outcome)),
        ("films in parts", f"{day.films_split:,}, of which {day.films_whole:,} made whole"),
        ("utilisation of engines", f"{day.utilisation:.1%}"),
        ("", ""),
        ("work thrown away", f"{day.thrown_away:.2%} of {worked_s / 3600:,.0f} engine hours"),
        *((f"  {fate}", f"{day.worked_s[fate] / 3600:,.1f} h") for fate in wasted),
        ("attempts retried", f"{day.retried_attempts:,}"),
        ("late answers refused", f"{day.late_answers:,}"),
        ("engines lost", f"{day.lost_engines:,} times"),
        ("", ""),
        ("faults", f"{plan.faults}: {outcome.faults:,}; {outcome.lost_messages:,} messages lost"),
        ("after the day", _ending(outcome)),
    ]


def _waits(outcome: Outcome) -> str:
    if (waits := outcome.day.waits) is None:
        return "nobody was given a job"
    longest_s = outcome.day.longest_wait_s
    return f"p50 {waits.p50_s:,.1f} s, p95 {waits.p95_s:,.1f} s, longest {longest_s:,.1f} s"


def _waiting(hours: list[Hour]) -> str:
    return f"{_bars([hour.waiting for hour in hours])}, at most {max(h.waiting for h in hours):,}"


def _ending(outcome: Outcome) -> str:
    if outcome.backlog:
        return f"{outcome.backlog:,} jobs not final after a week without faults"
    told = f"all jobs final within {outcome.ended_h} h"
    if outcome.unservable:
        told = f"{told}, but for {outcome.unservable:,} that no engine can do"
    return told


def _bars(values: list[int]) -> str:
    most = max(values) or 1
    return "".join(_BARS[-(-value * (len(_BARS) - 1) // most)] for value in values)
