"""One dispatcher of several: it follows, or it leads.

    follows    messages ──► replica ──► fold ──► answers
    leads      commands, its own and from the `desk` ──► decide ──► one message ──► answers

Laws:
- What is folded is what the log has, in its order, whoever leads. A follower decides nothing, and
  no time passes for it: leases begin anew with a new leader, as after an absence.
- Who is deposed drops what was not stored, and starts again from the log. Until then it
  forwards nothing. What it reads meanwhile is not folded, so a command that is answered there would
  look undone, and be done twice.
- If a replica failed, it may have messages that were not folded. Then all that was on its way fails
  as unknown, and the dispatcher starts again from the log.
- A dispatcher that finds corruption answers nothing any more; `corruption` says why.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import msgspec
from nats.aio.msg import Msg

from dispatcher.cluster import DEPOSED, ClusterError, CorruptionError, DeposedError
from dispatcher.cluster.checked import Applied
from dispatcher.cluster.commits import ConfirmedCommits
from dispatcher.cluster.desk import Desk, Serves, inbox_of
from dispatcher.cluster.folding import Folding
from dispatcher.cluster.forwarding import UNKNOWN, Forwarding
from dispatcher.cluster.leadership import BEAT_S, Beat, Leadership
from dispatcher.cluster.log import JetStreamLog
from dispatcher.cluster.stream import NoLeaderError, Stored, stored_of
from dispatcher.core.events import Recorded
from dispatcher.core.policy import DEFAULT_POLICY, Policy
from dispatcher.log import LogError
from dispatcher.log.serialization import LogEntry
from dispatcher.progress import Progress, silent
from dispatcher.recipes import Recipe
from dispatcher.serving.as_of import Past
from dispatcher.serving.callbacks import Callbacks
from dispatcher.serving.metrics import Replication
from dispatcher.serving.quotas import Quotas
from dispatcher.serving.sealing import Sealing
from dispatcher.serving.service import Service
from dispatcher.serving.tickets import Ticket
from dispatcher.state.replay import State
from dispatcher.store import Store

__all__ = ["Member"]

logger = logging.getLogger(__name__)

LOOK_S: Final = 0.1
"""The longest time for which a follower does nothing: it looks for a leader's silence."""
POLL_S: Final = 1.0
"""A follower that hears of nothing new looks into the stream itself so often."""
PAUSE_S: Final = 0.2
PROBE_S: Final = 0.3
STOP_S: Final = 0.5
GONE_PEER_S: Final = 3.0
"""A dispatcher that was not heard of for so long hears of no jobs that are given to its callers."""
PATIENCE_S: Final = 10.0
"""How long a follower may fail to follow before it refuses commands."""
OFFERED: Final = 2_000
"""Messages that are kept as they are republished."""


class Member(Service):
    """A `Service` that leads or follows; `service` adds what clients ask of it.

    `url` is told to the other dispatchers, for operators.
    """

    def __init__(  # noqa: PLR0913 - it has as many parts
        self,
        log: JetStreamLog,
        policy: Policy = DEFAULT_POLICY,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        past: Past | None = None,
        sealing: Sealing | None = None,
        quotas: Quotas | None = None,
        recipes: Mapping[str, Recipe] | None = None,
        callbacks: Callbacks | None = None,
        store: Store | None = None,
        url: str | None = None,
    ) -> None:
        super().__init__(
            log,
            policy,
            clock,
            past=past,
            sealing=sealing,
            quotas=quotas,
            recipes=recipes,
            callbacks=callbacks,
            store=store,
            commits=ConfirmedCommits,
        )
        self._cluster = log
        self._url = url
        self._leading = False
        self._folded = log.term, log.position
        self._offered: list[Stored] = []
        self._news = asyncio.Event()
        self._is_recovering = False
        self._sync_fault: str | None = None
        self._in_step_s = self._now_s()
        self._is_stale = False
        self._tasks: list[asyncio.Task[None]] = []
        self.leadership = Leadership(self._now_s)
        self._forwarding = Forwarding(
            log.stream,
            log.member,
            self.place,
            lambda: self.projections,
            self.memory,
            self.leadership.gone,
        )
        self._folding = Folding(self._state, self._announce_folded, self._forwarding, self.memory)
        self._desk = Desk(log.stream, self._serves())

    def _serves(self) -> Serves:
        """Return what carries out the commands of other dispatchers."""
        raise NotImplementedError

    async def start(self, progress: Progress = silent) -> None:
        """Rebuild the state from the replica, then follow, or lead; see `Service.start`."""
        stream = self._cluster.stream
        await stream.subscribe("beat", self._on_beat)
        await stream.subscribe(inbox_of(self._cluster.member), self._forwarding.on_answers)
        await super().start(progress)
        self._tasks = [
            self._start_task(self._take_part(), "membership"),
            self._start_task(self._beat(), "beats"),
            self._start_task(self._forwarding.run(), "forwarding"),
        ]

    async def close(self) -> None:
        """Commit what was decided here, then stop; see `Service.close`."""
        self._forwarding.fail_all("the dispatcher is stopping")
        await self._desk.close()  # who has no answer hands it in again
        for task in self._tasks:
            await self._stop_task(task)
        if self._is_stale:
            self._core.seq = -1  # so that its state is not kept as that of the log
        await super().close()

    def dismiss_waiters(self) -> None:
        """Answer all callers that wait for work, now or later; see `Service.dismiss_waiters`."""
        super().dismiss_waiters()
        self._forwarding.end_waits()

    async def _stop_task(self, task: asyncio.Task[None]) -> None:
        """Cancel until it ends. `asyncio.wait_for` of Python 3.11, in NATS, may swallow it."""
        task.remove_done_callback(self._on_task_end)
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=STOP_S)

    @property
    def is_leading(self) -> bool:
        """Whether this dispatcher decides."""
        return self._leading and self._cluster.leads

    @property
    def corruption(self) -> str | None:
        """Why this dispatcher answers nothing any more, or `None`."""
        return None if self._cluster.corruption is None else str(self._cluster.corruption)

    @property
    def fault(self) -> str | None:
        """Why writes are refused at the moment, or `None` if they are accepted."""
        fault = self.corruption or self._commits.fault
        if fault not in {None, DEPOSED}:  # that is over in a moment
            return fault
        is_long = self._now_s() - self._in_step_s > PATIENCE_S
        return self._sync_fault if is_long else None

    @property
    def is_ready(self) -> bool:
        """Whether to send clients here: all is well, and all that is known of is shown."""
        if self.fault is not None or self._sync_fault is not None:
            return False
        if self.is_leading:
            return True
        beat = self.leadership.beat
        return beat is not None and self.leadership.is_heard and self._folded[1] >= beat.position

    @property
    def replication(self) -> Replication:
        """How this dispatcher stands to the others."""
        term, position = self.place()
        beat = self.leadership.beat
        newest = max(self._cluster.position, 0 if beat is None else beat.position)
        return Replication(
            self.is_leading,
            term,
            max(newest - position, 0),
            self._cluster.stored,
            self._forwarding.forwarded,
        )

    def place(self) -> tuple[int, int]:
        """Return the term and the position in the stream that are shown here.

        A dispatcher that is deposed shows nothing of a later term before it has started again from
        the log. So the new leader takes none of its requests before that.
        """
        if self.is_leading:
            return self._cluster.term, self._cluster.position
        return self._folded

    def shown_seq(self) -> int:
        """Return the seq that is shown here."""
        return self.projections.seq

    async def _becomes_durable(self) -> bool:
        """No time passes for a follower."""
        return self._leading and await super()._becomes_durable()

    async def _take_part(self) -> None:
        """Follow and lead, in turn, until cancelled; or until corruption is found."""
        while True:
            try:
                await (self._lead() if self._cluster.leads else self._follow())
                self._in_step()
            except CorruptionError as error:
                await self._halt(error)
                return
            except LogError as error:
                if self._sync_fault is None:
                    logger.warning("%s; this dispatcher falls behind", error)
                self._sync_fault = str(error)
                await asyncio.sleep(PAUSE_S)

    def _in_step(self) -> None:
        self._sync_fault, self._in_step_s = None, self._now_s()

    async def _halt(self, error: CorruptionError) -> None:
        logger.critical("%s", error)
        self._leading = False
        self._cluster.corruption = self._cluster.corruption or error
        await self._desk.close()
        self._forwarding.fail_all(str(error))
        self._commits.refuse(str(error))
        self.dismiss_waiters()
        self.feed.end()

    async def _follow(self) -> None:
        """Apply and fold what others store, until this dispatcher has claimed the lead."""
        stored = await self._cluster.stream.subscribe("stored", self._on_stored)
        try:
            polled_s = float("-inf")
            while not self._cluster.leads:
                if self._cluster.replica_fault is not None:
                    await self._cluster.recover_replica()
                if self._is_stale:
                    await self._start_over()
                await self._wait_for_news()
                offered, self._offered = self._offered, []
                if offered or self._is_behind() or self._now_s() - polled_s > POLL_S:
                    has_news = await self._advance(offered)
                    polled_s = float("-inf") if has_news else self._now_s()
                elif self.leadership.is_due():
                    await self._claim()
                elif self.leadership.is_suspect:
                    await self._probe()
        finally:
            await self._cluster.stream.unsubscribe(stored)
            self._offered.clear()

    async def _advance(self, offered: Sequence[Stored]) -> bool:
        """Apply and fold the next messages; return whether there were any."""
        try:
            applied = await self._cluster.advance(offered)
        except LogError:
            if self._cluster.replica_fault is not None:  # what it wrote may answer some even so
                self._is_stale = True
                self._forwarding.fail_all(UNKNOWN)
            raise
        if applied:
            self.leadership.heard()
            self._is_stale = True  # until all is folded
            try:
                await self._fold(applied)
            except BaseException:  # what was not folded may have answered some
                self._forwarding.fail_all(UNKNOWN)
                raise
            self._is_stale = False
        self._in_step()
        return bool(applied)

    async def _wait_for_news(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self._news.wait()
        self._news.clear()

    def _is_behind(self) -> bool:
        beat = self.leadership.beat
        return beat is not None and beat.position > self._cluster.position

    async def _claim(self) -> None:
        """Claim the lead. That is refused if there is a message that was not applied here."""
        if await self._cluster.claim():
            logger.warning("Leads from term %d, seq %d", self._cluster.term, self._cluster.head)
        else:
            self.leadership.heard()  # of somebody's message

    async def _probe(self) -> None:
        try:
            await self._cluster.stream.ask("commands", b"", PROBE_S)
        except NoLeaderError:
            self.leadership.gone()
        except ClusterError:  # nobody can say; the silence goes on
            pass

    async def _fold(self, applied: Sequence[Applied]) -> None:
        """Show what was applied, and answer those of ours that it answers."""
        for one in applied:
            await self._folding.fold(one)
            self._folded = one.message.term, one.sequence
            if one.message.claim is not None:
                self._forwarding.begin_term()
        self._forwarding.settle_due()

    def _state(self) -> State:
        finished = None if self.past is None else self.past.index
        return State(self._core.fleet, self.projections, finished)

    def _announce_folded(self, recorded: Recorded, entry: LogEntry) -> None:
        self._core.seq = recorded.seq
        self._announce(recorded, entry)

    async def _lead(self) -> None:
        """Decide, from the claim that is this dispatcher's until a later one."""
        if self._cluster.is_unsettled:  # the claim was stored after all, when it was given up
            self._is_stale = True
            await self._cluster.recover()
        if self._is_stale:
            await self._start_over()
        term = self._cluster.term
        self._folded = term, self._cluster.position
        effects = self._core.restart(
            self._core.fleet, self._core.seq, at=self._clock(), now_s=self._now_s()
        )
        self._leading = True
        self._carry_out(effects)
        self._forwarding.hand_back()
        while self._cluster.leads and self._cluster.corruption is None:
            if not self._desk.is_open:
                with suppress(ClusterError):
                    await self._desk.open(term)
            await self._wait_for_news()
            self._forget_gone_peers()
            beat = self.leadership.beat
            if beat is not None and beat.term > term and not self._is_recovering:
                await self._confirm_lead()
        self._leading = False
        await self._step_down()

    async def _confirm_lead(self) -> None:
        """Find out whether a later claim was stored, as a beat says."""
        try:
            await self._cluster.confirm()
        except DeposedError:
            pass
        except LogError as error:
            logger.warning("%s", error)

    def _forget_gone_peers(self) -> None:
        now_s = self._now_s()
        for member, (_, heard_s) in [*self.leadership.peers.items()]:
            if now_s - heard_s > GONE_PEER_S:
                del self.leadership.peers[member]
                self._desk.forget(member)

    async def _step_down(self) -> None:
        """Drop what was not stored, and start again from the log, as a follower."""
        self._commits.refuse(DEPOSED)
        await self._desk.close()
        for ticket in self._core.waiting():
            self._core.hang_up(ticket)
            if isinstance(ticket, Ticket):
                ticket.fail(DEPOSED)
        assert isinstance(self._commits, ConfirmedCommits)  # noqa: S101 - as it was made
        # Recovery reads messages that are not folded. None of them may answer a command of ours, so
        # nothing is forwarded in the new term before it is over.
        while self._commits.is_committing:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        self._is_stale = True
        self.leadership.heard()
        logger.warning("Follows from term %d, seq %d", self._cluster.term, self._cluster.head)

    async def _start_over(self) -> None:
        """Rebuild the fleet from the log, and bring the projections up to it."""
        await self._rebuild()
        self._folded = self._cluster.term, self._cluster.position
        self._is_stale = False
        if self._commits.fault == DEPOSED:
            self._commits.accept()

    async def _recover(self, error: LogError) -> None:
        """Find out what was stored, then go on, as the leader or not; see `Service._recover`."""
        if not isinstance(error, DeposedError):
            logger.error("%s; refusing writes until the log takes them again", error)
        self._is_recovering = True
        try:
            while self._cluster.leads:
                try:
                    await self._cluster.recover()
                    effects = await self._rebuild()
                except DeposedError:
                    break
                except CorruptionError as corruption:
                    await self._halt(corruption)
                    return
                except LogError as again:
                    logger.warning("%s", again)
                    await asyncio.sleep(PAUSE_S)
                else:
                    self._commits.accept()
                    self._carry_out(effects)
                    logger.warning("The log takes writes again, from seq %d", self._core.seq)
                    return
        finally:
            self._is_recovering = False
        self._news.set()  # `_lead` steps down

    # Beats and news

    async def _beat(self) -> None:
        while True:
            beat = Beat(
                self._cluster.member,
                *self.place(),
                self.projections.seq,
                self.is_leading and self._cluster.replica_fault is None,
                self.fault,
                self._url,
            )
            with suppress(ClusterError):  # others notice the silence
                await self._cluster.stream.tell("beat", msgspec.json.encode(beat))
            await asyncio.sleep(BEAT_S)

    async def _on_beat(self, message: Msg) -> None:
        try:
            beat = msgspec.json.decode(message.data, type=Beat)
        except msgspec.DecodeError:
            return
        if beat.member != self._cluster.member:
            self.leadership.take(beat, self._cluster.term)
            self._news.set()

    async def _on_stored(self, message: Msg) -> None:
        if not self._leading and (stored := stored_of(message)) is not None:
            if len(self._offered) >= OFFERED:
                self._offered.clear()  # they are read from the stream
            self._offered.append(stored)
            self._news.set()
