"""The route that Prometheus scrapes. It is for operators, and for keys with the role `monitor`.

Law: no label has values that come from outside, but for codecs, of which only the first
`projections.statistics.MOST_CODECS` have counts of their own.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from litestar import Request, get
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from dispatcher import __version__
from dispatcher.api.answers import Answer
from dispatcher.api.requests import service_of
from dispatcher.api.routes import declared
from dispatcher.serving.keys import Role
from dispatcher.serving.metrics import Histogram
from dispatcher.serving.service import Service

__all__ = ["metrics"]

_MEDIA_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4.encode()


@get("/metrics", **declared(needs=Role.MONITOR, answers={200: str}))
async def metrics(request: Request[Any, Any, Any]) -> Answer:
    """Give the dispatcher's metrics in the text format of Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    registry.register(_Farm(service_of(request)))
    return Answer(200, generate_latest(registry), _MEDIA_TYPE)


class _Farm(Collector):
    """Turns what a service knows into metrics, at the moment of the scrape."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        yield from self._jobs()
        yield from self._engines()
        yield from self._attempts()
        yield from self._log()
        yield from self._requests()
        yield from self._replication()

    def _jobs(self) -> Iterator[Metric]:
        projections = self._service.projections
        now = projections.statistics.now(
            projections.seq, projections.time, projections.jobs, projections.engines
        )
        jobs = GaugeMetricFamily(
            "dispatcher_jobs", "Jobs by their status and codec.", labels=["status", "codec"]
        )
        for codec, counts in now.codecs.items():
            for status, count in counts.items():
                jobs.add_metric([status, codec], count)
        yield jobs
        yield CounterMetricFamily(
            "dispatcher_jobs_submitted", "Jobs that were ever submitted.", sum(now.jobs.values())
        )
        since = now.oldest_waiting_since
        age_s = 0.0 if since is None else max((datetime.now(UTC) - since).total_seconds(), 0.0)
        yield GaugeMetricFamily(
            "dispatcher_queue_oldest_seconds", "How long the oldest waiting job has waited.", age_s
        )

    def _engines(self) -> Iterator[Metric]:
        engines = GaugeMetricFamily(
            "dispatcher_engines", "Engines by their state.", labels=["state"]
        )
        for state, count in self._service.projections.engines.states().items():
            engines.add_metric([state], count)
        yield engines
        yield CounterMetricFamily(
            "dispatcher_engines_lost",
            "Engines that were silent for a whole lease, since the start.",
            self._service.metrics.lost_engines,
        )

    def _attempts(self) -> Iterator[Metric]:
        counted = self._service.metrics
        yield CounterMetricFamily(
            "dispatcher_jobs_assigned", "Assignments since the start.", counted.assigned
        )
        yield _by(
            "dispatcher_attempts", "Attempts that ended, since the start.", "end", counted.attempts
        )
        yield _histogram(
            "dispatcher_first_wait_seconds",
            "How long jobs waited for their first engine.",
            counted.first_wait_s,
        )

    def _log(self) -> Iterator[Metric]:
        service, counted = self._service, self._service.metrics
        yield CounterMetricFamily(
            "dispatcher_log_events", "Events in the log.", service.projections.seq
        )
        yield GaugeMetricFamily(
            "dispatcher_log_writable", "1 if the log takes writes.", int(service.fault is None)
        )
        yield _histogram(
            "dispatcher_append_seconds", "How long commits to the log took.", counted.append_s
        )
        yield _histogram(
            "dispatcher_append_events", "Events of a commit to the log.", counted.batch_events
        )
        yield GaugeMetricFamily(
            "dispatcher_streams", "Open streams of events.", service.feed.streams
        )
        build = GaugeMetricFamily("dispatcher_build_info", "The version.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build

    def _requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "dispatcher_http_requests",
            "Requests that were answered, by route.",
            labels=["method", "route", "status"],
        )
        for (method, route, status), count in self._service.metrics.requests.items():
            requests.add_metric([method, route, str(status)], count)
        yield requests

    def _replication(self) -> Iterator[Metric]:
        if (it := self._service.replication) is None:
            return
        for name, meaning, value in (
            ("leading", "1 if this dispatcher leads.", int(it.leads)),
            ("term", "The newest term that is shown here.", it.term),
            ("lag_messages", "Messages that are known of and not shown here.", it.lag),
        ):
            yield GaugeMetricFamily(f"dispatcher_replication_{name}", meaning, value)
        for name, meaning, value in (
            ("messages_stored", "Messages stored by this dispatcher, since the start.", it.stored),
            ("commands_forwarded", "Commands sent to a leader, since the start.", it.forwarded),
        ):
            yield CounterMetricFamily(f"dispatcher_replication_{name}", meaning, value)


def _by(name: str, meaning: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, meaning, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


def _histogram(name: str, meaning: str, histogram: Histogram) -> Metric:
    counts = histogram.cumulative()
    bounds = [*map(str, histogram.bounds), "+Inf"]
    family = HistogramMetricFamily(name, meaning)
    family.add_metric([], list(zip(bounds, counts, strict=True)), histogram.total)
    return family
