"""One film on a whole farm, in simulated time, beside the same film on one engine."""

import msgspec
import pytest
from typer.testing import CliRunner

from dispatcher.cli import app
from dispatcher.simulation.one_film import times_of_one_film
from dispatcher.simulation.plan import Plan, PlanError

FILM = Plan(engines=20, film_mb=40_000.0)


@pytest.mark.parametrize("seed", range(1, 4))
def test_twenty_engines_have_a_film_ready_more_than_eleven_times_as_soon_as_one(seed: int) -> None:
    times = times_of_one_film(msgspec.structs.replace(FILM, seed=seed))
    assert times.segments == 267
    assert times.times_sooner > 11
    assert times.whole_on_one_s < times.parts_on_one_s < 1.1 * times.whole_on_one_s


def test_no_number_of_engines_makes_the_index_and_the_join_shorter() -> None:
    times = times_of_one_film(msgspec.structs.replace(FILM, engines=400))
    assert 20 < times.times_sooner < 1 / 0.024  # each takes 1.5 %, or a fifth less


def test_one_engine_is_quicker_if_it_does_not_split_the_film() -> None:
    times = times_of_one_film(msgspec.structs.replace(FILM, engines=1))
    assert times.times_sooner < 1


def test_the_same_plan_gives_the_same_times() -> None:
    assert times_of_one_film(FILM) == times_of_one_film(FILM)


def test_a_film_that_would_take_years_is_refused() -> None:
    with pytest.raises(PlanError, match="more than a year"):
        times_of_one_film(msgspec.structs.replace(FILM, film_mb=1e9))


def test_the_command_tells_the_times_and_how_to_get_them_again() -> None:
    options = ["simulate", "--engines", "4", "--film-mb", "3000"]
    shown = CliRunner().invoke(app, options)
    assert shown.exit_code == 0
    assert "in 20 segments, on 4 engines" in shown.stdout
    assert "dispatcher simulate --engines 4 --hours 24 --seed 1 --film-mb 3000" in shown.stdout
    told = msgspec.json.decode(CliRunner().invoke(app, [*options, "--json"]).stdout)
    assert told["film"]["segments"] == 20
    assert told["film"]["whole_on_one_s"] == pytest.approx(3_000, abs=3)
    assert 2 < told["times_sooner"] < 4


@pytest.mark.parametrize(
    ("megabytes", "told"), [("1e9", "more than a year"), ("-1", "must not be less than 0")]
)
def test_a_film_that_makes_no_sense_is_an_error_of_usage(megabytes: str, told: str) -> None:
    refused = CliRunner().invoke(app, ["simulate", "--film-mb", megabytes])
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert told in " ".join(refused.stderr.replace("│", " ").split())
