"""The routes that show the farm in numbers: now, over time, and what is to be expected."""

from typing import Any, Final

from litestar import Request, get
from litestar.types import ASGIApp

from dispatcher.api import queries
from dispatcher.api.auth import ANY_KEY
from dispatcher.api.routes import declared
from dispatcher.api.schemas import AS_OF, HOURS, SHOWN_WAITING
from dispatcher.api.viewing import answer_view
from dispatcher.serving.views import CountFarm, ForecastFarm, ShowSeries, ShowSpeeds
from projections.forecast import Forecast
from projections.series import SeriesShown
from projections.speeds import SpeedsShown
from projections.statistics import FarmNow

__all__ = ["HANDLERS"]


@get(
    "/statistics/now",
    **declared(needs=ANY_KEY, answers={200: FarmNow}, parameters=[AS_OF]),
)
async def count_farm(request: Request[Any, Any, Any]) -> ASGIApp:
    """Count the jobs by status and codec, and the engines by state."""
    return await answer_view(request, CountFarm())


@get(
    "/statistics/series",
    **declared(needs=ANY_KEY, answers={200: SeriesShown}, parameters=[HOURS, AS_OF]),
)
async def show_series(request: Request[Any, Any, Any]) -> ASGIApp:
    """Show what happened in the last hours, in steps whose length depends on the hours."""
    return await answer_view(request, ShowSeries(queries.hours(request.query_params)))


@get(
    "/statistics/speeds",
    **declared(needs=ANY_KEY, answers={200: SpeedsShown}, parameters=[AS_OF]),
)
async def show_speeds(request: Request[Any, Any, Any]) -> ASGIApp:
    """Show how long jobs took, by codec on the farm and on each engine."""
    return await answer_view(request, ShowSpeeds())


@get(
    "/statistics/forecast",
    **declared(needs=ANY_KEY, answers={200: Forecast}, parameters=[SHOWN_WAITING, AS_OF]),
)
async def forecast_farm(request: Request[Any, Any, Any]) -> ASGIApp:
    """Tell when what runs and what waits will be done, if all goes on as it is."""
    return await answer_view(request, ForecastFarm(queries.shown_waiting(request.query_params)))


HANDLERS: Final = (count_farm, show_series, show_speeds, forecast_farm)
