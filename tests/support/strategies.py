"""What hypothesis may make up: commands and events that keep meeting the same few names."""

from datetime import UTC, datetime
from typing import Any, Final, get_args

from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from dispatcher.core import commands, events
from dispatcher.core.commands import Command
from dispatcher.core.events import Cause, Event
from dispatcher.core.policy import Policy

__all__ = ["any_commands", "any_events", "policies", "reports", "times"]

ODD: Final = ["", "a", "é\u0000", "\u2028", "🎬", "null", "'; --", '"\\', "e\u0301"]

ids = st.sampled_from(ODD[:3])
texts = st.sampled_from(ODD) | st.text(max_size=8)
codecs = st.sampled_from(["h264", "vp9", "", "🎞"])
amounts = st.sampled_from([0.0, 49.99, 50.0, 99.99, 100.0]) | st.floats(0, 1e300)
retries = st.integers(0, 3) | st.just(2**63 - 1)
times = st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
times = times.map(lambda at: at.replace(fold=0))

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)

KNOWN_FIELDS: Final[dict[str, st.SearchStrategy[Any]]] = {
    "engine_type": texts,
    "supported_codecs": st.lists(codecs, max_size=3),
    "status": st.sampled_from(["idle", "busy"]),
    "storage_capacity_gb": amounts,
    "streaming_support": st.booleans(),
    "benchmark_time": amounts,
    "instance": st.sampled_from(["1", "2"]),
    "abilities": st.lists(st.sampled_from(["recipes", "vmaf", ""]), max_size=3),
}
OWN_NAMES: Final = ["current_job", "more", "report", "hostname"]

reports = st.builds(
    lambda more, known: more | known,
    st.dictionaries(st.sampled_from(OWN_NAMES) | texts, json_values, max_size=2),
    st.fixed_dictionaries({}, optional=KNOWN_FIELDS),
)
"""What `api.bodies` lets through of a heartbeat."""

job_sizes = st.sampled_from([0.0, 49.99, 50.0, 100.0, 1000.0, 1000.5]) | amounts
attempts = st.none() | st.integers(0, 3)
priorities = st.sampled_from([0, 0, 1, 100])
keys = st.none() | st.sampled_from(["key", "other key"])
percents = st.none() | st.sampled_from([0.0, 33.3, 100.0])
causes = st.sampled_from(get_args(Cause))
reported_causes = st.sampled_from(get_args(commands.ReportedCause))
instances = st.none() | st.sampled_from("12")
counts = st.integers(0, 9)
recipes = st.sampled_from(
    [{"quality": 60.0}, {"name": "web", "clip": {"from": 1.5}}, {"vmaf": 93.0}]
)
needs = st.sampled_from([("recipes",), ("recipes", "vmaf"), ("recipes", "tag:gpu"), ("",)])
asked_for: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        *({}, {}, {}, {}),
        {"recipe": {"quality": 60.0}, "needs": ("recipes",)},
        {"recipe": {"name": "web", "vmaf": 93.0}, "needs": ("recipes", "vmaf")},
        {"output_name": "{stem}", "needs": ("recipes",)},
    ]
)
results = st.fixed_dictionaries(
    {"encoder": texts}, optional={"kept": st.lists(texts, max_size=3), "crf": amounts}
)
policies = st.sampled_from(
    [
        Policy(),
        Policy(retry_backoff_s=10.0, block_after=1, priority_point_s=0.5, max_losses=2),
        Policy(retry_backoff_s=1e9, block_after=0, source_patience_s=0.0),
        Policy(block_after=1, block_for_s=0.0, max_losses=0),
    ]
)

submissions = st.builds(
    commands.SubmitJob, ids, texts, codecs, job_sizes, retries, priorities, keys
)
after = st.lists(ids, min_size=1, max_size=2, unique=True).map(tuple)
job_parts = st.lists(
    st.builds(commands.SubmitJob, st.none(), texts, codecs, job_sizes, retries), max_size=3
).map(tuple)
any_commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(lambda job, asked: replace(job, **asked), submissions, asked_for),
    st.builds(lambda job, after: replace(job, after=after), submissions, after),
    st.builds(commands.SplitJob, ids, job_parts, ids, st.integers(0, 3), instances),
    st.builds(commands.ReportHeartbeat, ids, reports, st.none() | ids, attempts, percents),
    st.builds(commands.ReportHeartbeat, ids, st.just({}), ids, st.none(), percents),
    st.builds(commands.ReportBenchmark, ids, amounts),
    st.builds(commands.AssignJob, st.none() | ids, st.booleans(), instances),
    st.builds(commands.CompleteJob, ids, st.sampled_from(ODD[:2])),
    st.builds(commands.FailJob, ids, texts),
    st.builds(
        commands.CompleteJob,
        *(ids, st.sampled_from(ODD[:2]), ids, attempts),
        instance=instances,
        result=st.none() | results,
    ),
    st.builds(commands.FailJob, ids, texts, ids, attempts, instances, reported_causes),
    st.builds(commands.CancelJob, ids),
    st.builds(commands.SubmitJobs, st.lists(submissions, max_size=3).map(tuple)),
    st.builds(commands.RetryJob, ids),
    st.builds(commands.PrioritizeJob, ids, st.integers(0, 100)),
    st.builds(commands.DrainEngine, ids),
    st.builds(commands.ResumeEngine, ids),
    st.builds(commands.ForgetEngine, ids),
    st.builds(commands.LoseEngine, ids, amounts),
    st.builds(commands.TimeOutJob, ids, st.integers(0, 3), amounts),
    st.builds(commands.TimeOutJob, ids, st.integers(0, 3), amounts, st.just(True)),
    st.builds(commands.NoticeAsking, ids, ids),
    st.builds(commands.TakeBackJob, ids, ids, amounts),
    st.builds(commands.UnblockEngine, ids),
    st.builds(commands.ForgetLostEngine, ids),
    st.builds(commands.ReleaseJob, ids),
)

any_events: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        events.JobSubmitted,
        *(ids, texts, codecs, amounts, retries, st.integers(0, 100), st.none() | times),
        st.none() | texts,
    ),
    st.builds(
        events.JobSubmitted,
        *(ids, texts, codecs, amounts, retries),
        recipe=recipes,
        output_name=st.just(UNSET) | texts,
        needs=st.just(UNSET) | needs,
        callback_url=st.just(UNSET) | st.just("http://media/back"),
    ),
    st.builds(events.JobAssigned, ids, ids, counts, texts, st.lists(ids, max_size=2).map(tuple)),
    st.builds(events.JobCompleted, ids, st.none() | ids, counts, texts, st.just(UNSET) | results),
    st.builds(
        events.JobRequeued,
        *(ids, st.none() | ids, counts, counts, texts, causes, st.booleans(), st.none() | times),
        *(counts, counts, amounts),
    ),
    st.builds(
        events.JobFailedPermanently,
        *(ids, st.none() | ids, counts, retries, texts, causes, st.booleans(), counts),
    ),
    st.builds(events.JobReleased, ids),
    st.builds(events.JobProgressed, ids, ids, counts, amounts),
    st.builds(
        events.JobSubmitted,
        *(ids, texts, codecs, amounts, retries),
        after=after,
        waits_for=st.just(UNSET) | after,
    ),
    st.builds(
        events.JobSubmitted,
        *(ids, texts, codecs, amounts, retries),
        parent=ids,
        part=st.just(UNSET) | st.just({"kind": "rest"}),
    ),
    st.builds(events.JobSplit, ids, ids, counts, after),
    st.builds(events.JobMadeWhole, ids, texts),
    st.builds(events.JobCancelled, ids, st.none() | ids, counts, st.just(UNSET) | ids),
    st.builds(events.JobRetried, ids, st.just(UNSET) | after, st.just(UNSET) | ids),
    st.builds(events.JobReprioritized, ids, st.integers(0, 100), times),
    st.builds(
        events.AnswerRefused,
        *(ids, st.none() | ids, attempts, st.sampled_from(["complete", "fail"]), texts),
    ),
    st.builds(events.EngineReported, ids, reports),
    st.builds(events.EngineSeen, ids),
    st.builds(events.EngineBenchmarked, ids, amounts),
    st.builds(events.EngineReplaced, ids, st.sampled_from("12"), st.sampled_from("12"), times),
    st.builds(events.EngineFenced, ids, st.sampled_from("12")),
    st.builds(events.EngineAsked, ids, ids),
    st.builds(events.EngineLost, ids, amounts, st.none() | times),
    st.builds(events.EngineBlamed, ids, ids),
    st.builds(events.EngineBlocked, ids, texts, st.none() | times),
    st.builds(events.EngineUnblocked, ids),
    st.builds(events.EngineDrained, ids),
    st.builds(events.EngineResumed, ids),
    st.builds(events.EngineForgotten, ids),
)
"""Events in any order, whether or not `decider` would ever let them follow one another."""
