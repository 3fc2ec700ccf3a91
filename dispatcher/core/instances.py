"""Which process speaks for an engine: each start of an engine is an `instance` with its own name.

Laws:
- The newest instance wins, as with the static members of a Kafka group. An instance that was never
  heard before is taken at once, since a restart looks just so.
- From then on, the instance that it replaced is refused: two machines with one id (cloned hosts,
  containers) must not work on the same job. One of them works, and the other says why it does not.
- A request that tells no instance is never refused for it.
- A takeover of an engine with a job counts as a loss of the job's, since the job may have killed
  the process, whether or not the new one goes on with it. It is taken back if the replaced
  instance is heard again: then it had not died.
"""

from datetime import datetime

from dispatcher.core.engine import Engine
from dispatcher.core.events import EngineFenced, EngineReplaced
from dispatcher.core.fleet import Fleet
from dispatcher.core.replies import Decision, Reason, Refused

__all__ = ["refusal", "replacement"]


def refusal(fleet: Fleet, engine_id: str | None, instance: str | None) -> Decision | None:
    """Refuse a request of an instance that was replaced; `None` if it was not."""
    if instance is None or engine_id is None:
        return None
    engine = fleet.engines.get(engine_id)
    if engine is None or (takeover := engine.replaced.get(instance)) is None:
        return None
    text = (
        f"Conflict: instance {takeover.by} took over engine {engine_id} from instance {instance} "
        f"at {takeover.since:%Y-%m-%dT%H:%M:%SZ}. Only one machine can use an engine id: give this "
        "one another, or stop it."
    )
    happened = () if takeover.heard_again else (EngineFenced(engine_id, instance),)
    return Decision(happened, Refused(Reason.INSTANCE_REPLACED, text))


def replacement(
    engine: Engine, instance: str, at: datetime, kept_job: str | None
) -> EngineReplaced | None:
    """Return the event by which a new instance takes over the engine; `None` if it is the first."""
    if (known := engine.instance) is None:
        return None
    return EngineReplaced(engine.engine_id, instance, known, at, kept_job)
