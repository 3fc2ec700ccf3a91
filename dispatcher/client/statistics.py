"""Calls that show the farm in numbers."""

from typing import Any, TypeVar

from dispatcher.client.calls import Calls, decode, given
from projections.forecast import Forecast
from projections.series import SeriesShown
from projections.speeds import SpeedsShown
from projections.statistics import FarmNow

__all__ = ["StatisticsCalls"]

T = TypeVar("T")


class StatisticsCalls(Calls):
    """Calls that show the farm in numbers."""

    async def statistics(self, *, as_of: int | str | None = None) -> FarmNow:
        """Count jobs by status and codec, and engines by state: now, or at a seq or a time.

        A time is one of RFC 3339.
        """
        return await self._numbers("now", {"as_of": as_of}, FarmNow)

    async def series(self, hours: int = 24, *, as_of: int | str | None = None) -> SeriesShown:
        """Show what happened in the last hours, step by step, until now or another moment."""
        return await self._numbers("series", {"hours": hours, "as_of": as_of}, SeriesShown)

    async def speeds(self, *, as_of: int | str | None = None) -> SpeedsShown:
        """Show how long jobs took, by codec on the farm and on each engine."""
        return await self._numbers("speeds", {"as_of": as_of}, SpeedsShown)

    async def forecast(self, limit: int = 200, *, as_of: int | str | None = None) -> Forecast:
        """Tell when what runs and waits will be done, with the first `limit` jobs that wait."""
        return await self._numbers("forecast", {"limit": limit, "as_of": as_of}, Forecast)

    async def _numbers(self, name: str, asked: dict[str, Any], of_type: type[T]) -> T:
        path = f"/statistics/{name}"
        return decode(await self._connection.call("GET", path, query=given(**asked)), of_type)
