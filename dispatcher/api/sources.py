"""Whether a submission has what it needs of the store: its source, and room for parts of a film.

Law: a submission that is accepted keeps its source there: to ask is to use it (see `store`). One
that was accepted before is answered as then, though its source may have been swept.
"""

from dispatcher import segments
from dispatcher.api.errors import HttpError
from dispatcher.core.commands import SubmitJob
from dispatcher.serving.service import Service
from dispatcher.store_urls import StoreUrl

__all__ = ["is_sent_again", "lacks_source", "no_place_for_parts", "no_source"]


def lacks_source(service: Service, submission: SubmitJob) -> bool:
    """Whether a submission names a file of the store that is not there."""
    url = StoreUrl.parse(submission.source_url)
    return url is not None and (service.store is None or service.store.use(url.sha256) is None)


async def is_sent_again(service: Service, submission: SubmitJob) -> bool:
    """Whether there is a job of the same idempotency key."""
    key = submission.idempotency_key
    if key is None:
        return False
    await service.memory.complete(submission)
    return await service.explain(lambda fleet: key in fleet.idempotent)


def no_place_for_parts(service: Service, submission: SubmitJob) -> HttpError | None:
    """Make the error of a film that is to be split, and whose parts can go nowhere."""
    if service.store is not None or segments.ABILITY not in submission.needs:
        return None
    return HttpError(400, f"Bad Request: 'recipe.split_s': {segments.NO_STORE}.")


def no_source(service: Service, submission: SubmitJob) -> HttpError:
    """Make the error of a submission whose source is not there."""
    if service.store is None:
        text = "this dispatcher has no store (`serve --store DIR`), so no source can be in it"
    else:
        sha256 = submission.source_url.removeprefix("store:").partition("/")[0]
        text = f"the store has no file {sha256}; send it to PUT /store/{sha256} first"
    return HttpError(400, f"Bad Request: 'source_url': {text}.")
