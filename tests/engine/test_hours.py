"""The hours in which an engine takes jobs: what is written, and what a clock on the wall shows."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from dispatcher.engine.hours import Hours, HoursError

NIGHTS = "mo-fr 19:00-07:00"
BERLIN = ZoneInfo("Europe/Berlin")


def at(day: str, time: str) -> datetime:
    """A moment of the week that begins on Monday, 2 March 2026."""
    date = 2 + ("mo", "tu", "we", "th", "fr", "sa", "su").index(day)
    return datetime.fromisoformat(f"2026-03-{date:02} {time}")


@pytest.mark.parametrize(
    ("written", "open_", "shut"),
    [
        (NIGHTS, ["mo 19:00", "tu 06:59", "sa 06:59"], ["mo 18:59", "mo 06:00", "sa 07:00"]),
        ("9:00-17:00", ["mo 09:00", "su 16:59"], ["mo 08:59", "su 17:00"]),
        ("sa,su", ["sa 00:00", "su 23:59"], ["fr 23:59", "mo 00:00"]),
        ("Sat-Sun 00:00-24:00", ["sa 00:00", "su 23:59"], ["fr 23:59", "mo 00:00"]),
        ("fr-mo 12:00-13:00", ["fr 12:00", "su 12:30", "mo 12:00"], ["tu 12:00", "th 12:00"]),
        ("mo,wednesday 20:00-06:00; su", ["mo 23:00", "th 05:00", "su 05:00"], ["tu 23:00"]),
        ("su 22:00-06:00", ["su 22:00", "mo 05:59"], ["mo 06:00", "mo 22:00", "su 05:00"]),
    ],
)  # fmt: skip
def test_an_engine_is_open_in_its_hours_and_shut_outside(
    written: str, open_: list[str], shut: list[str]
) -> None:
    hours = Hours.parse([written])
    assert [it for it in open_ if not hours.is_open(at(*it.split()))] == []
    assert [it for it in shut if hours.is_open(at(*it.split()))] == []


def test_several_hours_add_up() -> None:
    hours = Hours.parse([NIGHTS, "sa-su"])
    assert hours.is_open(at("su", "12:00"))
    assert not hours.is_open(at("mo", "12:00"))


@pytest.mark.parametrize(
    ("now", "opens"),
    [("mo 12:00", "mo 19:00"), ("sa 07:00", "su 23:30"), ("tu 07:00", "tu 19:00")],
)
def test_it_is_known_when_it_opens(now: str, opens: str) -> None:
    hours = Hours.parse([f"{NIGHTS}; su 23:30-23:40"])
    assert hours.opens(at(*now.split())) == at(*opens.split())


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ("", "it has neither days nor times"),
        ("mo-fr 19:00", "it has neither days nor times"),
        ("always", "'always' is no day"),
        ("m 19:00-20:00", "'m' is no day"),
        ("mo-xx", "'xx' is no day"),
        ("mo 25:00-26:00", "'25:00' is no time"),
        ("mo 24:30-01:00", "'24:30' is no time"),
        ("mo 19:00-19:00", "it begins when it ends; a whole day is 00:00-24:00"),
        ("mo 24:00-06:00", "it begins when it ends"),
        ("mo 7-19", "'7' is no time"),
    ],
)
def test_what_can_not_be_understood_is_told_with_an_example(written: str, fault: str) -> None:
    with pytest.raises(HoursError) as caught:
        Hours.parse([written])
    assert str(caught.value).startswith(f"--hours {written!r}: {fault}")
    assert str(caught.value).endswith("write them as in --hours 'mo-fr 19:00-07:00; sa,su'")


@pytest.mark.parametrize(
    ("night", "hours_open"),
    [("2026-03-28", 11), ("2026-10-24", 13), ("2026-06-20", 12)],
    ids=["when daylight saving time begins", "when it ends", "on any other day"],
)
def test_the_clock_on_the_wall_counts(night: str, hours_open: float) -> None:
    hours = Hours.parse(["19:00-07:00"])
    noon = datetime.fromisoformat(f"{night} 12:00").replace(tzinfo=BERLIN).astimezone(UTC)
    step = timedelta(minutes=15)
    walls = [(noon + step * n).astimezone(BERLIN).replace(tzinfo=None) for n in range(4 * 24)]
    assert sum(map(hours.is_open, walls)) / 4 == hours_open
