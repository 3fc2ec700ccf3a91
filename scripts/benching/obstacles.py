"""What stands in the way of each target, said on the page where that target is missed."""

from typing import Final

__all__ = ["obstacle"]

_UNKNOWN: Final = "not known yet; profile the dispatcher under this load"

_OBSTACLES: Final = {
    "A.throughput": "beside what the handler of (1) does, one core checks the key, decides, "
    "encodes the event, hashes it into the tree and waits for the commit; see a profile for how "
    "much each of them takes",
    "A.p99": "an answer waits for the commit under way and for its own, and every 50,000 events a "
    "process that writes a snapshot shares the cores",
    "A.batches": "each submission is parsed, decided, encoded, hashed into the tree, inserted, "
    "shown and answered in the interpreter; the insertion alone takes a quarter of that",
    "B.ahead": "a life is three HTTP requests on one core; the peer that is ahead has another "
    "protocol or keeps less",
    "C.decoding": "each event is folded into three projections, in the interpreter, which takes "
    "longer than to read and decode it",
    "C.library": "reading and decoding alone takes most of the time that the aim leaves, see the "
    "table; the fold comes on top, and keeps more than the one dict that stands for a projection "
    "beside the library",
    "D.startup": "a snapshot holds every job that is not finished, and its decoding takes time "
    "for each; the start with an empty log shows what loading the code takes",
    "D.memory": "a pending job is held by the fleet and its queue, by the projection of jobs and "
    "by that of its history",
    "D.list": "the reader of the list, the load and the dispatcher share the cores, and the list "
    "is encoded on the loop that also decides; compare the row in which nobody lists",
    "D.loop": "not known yet which step holds the loop; a probe from outside also counts the wait "
    "for a core, so compare the row in which nobody lists",
    "E.memory": "not known yet: finished jobs move from memory into the index, and the rest "
    "should not grow; compare E.leak",
    "E.leak": "not known yet; compare what a heap profile shows before and after the load",
    "F.cost": "ffmpeg is started three times before the encode, to look at the source, which is a "
    "fixed time; on a machine with other load the times of a round differ by more than that",
    "H.split": "what is not shared takes its time: the index of the source, the fetches of parts, "
    "the join and the verification; and each part begins with a key frame and an encoder that "
    "has seen nothing yet",
}


def obstacle(target: str) -> str:
    """Say what stands in the way of a target."""
    return _OBSTACLES.get(target, _UNKNOWN) + "."
