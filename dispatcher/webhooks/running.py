"""Webhooks at work: one task reads the log into the outbox, and one for each receiver sends.

Laws:
- A message that fails is tried again, later and later, up to ten minutes apart. After
  `give_up_hours` it is dead: it, and what follows it in its lane, waits until somebody has it tried
  again.
- While all that a receiver is sent fails, it is asked seldom. When it takes something again, what
  waited is sent at once.
- A fault of the outbox or the log is told as a warning, and the work goes on when it can.
"""

import asyncio
import logging
import random
import sqlite3
import time
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import msgspec

from dispatcher.log import Log, LogError
from dispatcher.log.serialization import LogEntry
from dispatcher.serving.callbacks import Callbacks, addresses_of
from dispatcher.serving.catching_up import BehindError, CatchingUp
from dispatcher.urls import masked
from dispatcher.webhook_states import WebhookView
from dispatcher.webhooks.collecting import CALLBACKS, collect, receiver_of
from dispatcher.webhooks.messages import body_of, id_of
from dispatcher.webhooks.outbox import Message, Outbox, OutboxError, Queued, Standing
from dispatcher.webhooks.sending import NotTakenError, Post, Sender
from dispatcher.webhooks.settings import ENDS, GIVE_UP_HOURS, Webhook
from dispatcher.webhooks.signing import Secret
from projections import Projections

__all__ = ["Source", "Webhooks"]

AT_ONCE: Final = 4
"""Messages to one receiver that are under way at once, each of another lane."""
PAGE: Final = 1_000
NOTED: Final = 1_000
"""After so many events of which none is to be sent, it is noted that they were read."""
BUNDLE_S: Final = 0.05
"""How long an event may wait for others, so that they are read at once."""
PAUSE_S: Final = 0.2
FIRST_S, LONGEST_S = 1.0, 600.0
"""The pause after a failure; it doubles with each."""
DOWN: Final = 3
"""After so many failures in a row, what waited is sent at once when the receiver is back."""
DOWN_S: Final = 60.0
"""The longest pause of a receiver that takes nothing: then it is asked whether it is back."""

logger = logging.getLogger(__name__)


class Source(Protocol):
    """What is read: the service."""

    log: Log
    projections: Projections
    catching_up: CatchingUp


class _Receiver:
    """A receiver to which messages are sent: what wakes its task, and what it took."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.again = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.sent = 0


class Webhooks:
    """All webhooks and callbacks of a dispatcher. Call `start`, and `close` at the end."""

    def __init__(
        self,
        source: Source,
        outbox: tuple[Outbox, int],
        webhooks: Sequence[Webhook],
        callbacks: tuple[Callbacks, Secret] | None,
    ) -> None:
        self._source = source
        self._outbox, self._seq = outbox
        self._noted = self._seq
        self._webhooks = {it.name: it for it in webhooks}
        self._wanted: dict[str, list[str]] = {}
        for it in webhooks:
            for event in it.events:
                self._wanted.setdefault(event, []).append(it.name)
        self._callbacks = callbacks
        self._of_webhooks = Sender(addresses_of)
        self._of_callbacks = None if callbacks is None else Sender(callbacks[0].addresses_of)
        self._reader: asyncio.Task[None] | None = None
        self._receivers: dict[str, _Receiver] = {}
        self._faults: dict[str, str] = {}  # by receiver; "" is the reader
        self._dead: set[str] = set()

    @property
    def warning(self) -> str | None:
        """What an operator should see to; `None` if all is well."""
        if self._faults:
            return f"webhooks: {next(iter(self._faults.values()))}"
        if self._dead:
            return (
                f"webhooks: messages to {', '.join(sorted(self._dead))} were given up; "
                "`dispatcher webhooks list` says why, and `dispatcher webhooks retry NAME` sends "
                "them"
            )
        return None

    async def start(self) -> None:
        """Begin to read and to send."""
        try:
            dropped = await self._outbox.keep(self._webhooks, CALLBACKS)
            left = await self._outbox.standing()
        except sqlite3.Error as error:
            raise OutboxError(f"{self._outbox.path}: can't be used: {error}") from error
        if dropped:
            logger.warning("%d messages were to webhooks that are no more; dropped", dropped)
        for name, standing in left.items():
            self._begin(name)
            if standing.dead:
                self._dead.add(name)
        self._reader = asyncio.create_task(self._read(), name="webhooks-reader")

    async def close(self) -> None:
        """Stop. What was not sent is sent when the dispatcher runs again."""
        tasks = [self._reader, *(it.task for it in self._receivers.values())]
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._of_webhooks.close()
        if self._of_callbacks is not None:
            await self._of_callbacks.close()
        await self._outbox.close()

    async def views(self) -> list[WebhookView]:
        """Return how it stands with each receiver: the operator's, and those of callbacks."""
        standing = await self._outbox.standing()
        others = {*standing, *self._receivers} - self._webhooks.keys()
        return [
            *(
                self._view(it.name, masked(it.url), it.events, standing.get(it.name))
                for it in self._webhooks.values()
            ),
            *(self._view(name, None, ENDS, standing.get(name)) for name in sorted(others)),
        ]

    async def retry(self, name: str) -> int | None:
        """Try everything to a receiver again now; gives how many, `None` if it has no such name."""
        if name not in self._webhooks and name not in await self._outbox.standing():
            return None
        count = await self._outbox.try_again(name, dead=True)
        self._dead.discard(name)
        self._begin(name).again.set()
        return count

    def _view(
        self, name: str, url: str | None, events: Iterable[str], standing: Standing | None
    ) -> WebhookView:
        waiting, dead, failing, error = standing or Standing(0, 0, None, None)
        state = "dead" if dead else "ok" if failing is None else "failing"
        sent = self._receivers[name].sent if name in self._receivers else 0
        return WebhookView(*(name, url, sorted(events), state, waiting, dead, sent, failing, error))

    # Reading

    async def _read(self) -> None:
        while True:
            try:
                await self._source.catching_up.until(self._seq + 1)
                await asyncio.sleep(BUNDLE_S)
                await self._read_page()
                self._faults.pop("", None)
            except BehindError:
                await asyncio.sleep(PAUSE_S)
            except (LogError, OSError, sqlite3.Error, msgspec.MsgspecError) as error:
                if self._faults.get("") != str(error):
                    logger.warning("webhooks: %s; trying again", error)
                self._faults[""] = str(error)
                await asyncio.sleep(FIRST_S)
            except Exception as error:
                logger.exception("webhooks: a defect")
                self._faults[""] = repr(error)
                await asyncio.sleep(FIRST_S)

    async def _read_page(self) -> None:
        upto = self._source.projections.seq
        entries = await self._source.log.page(self._seq, PAGE, upto=upto)
        if not entries:
            return
        found = collect(entries, self._wanted)
        messages = found.messages
        for job_id, seq in found.ended:
            url = found.callbacks.get(job_id) or await self._outbox.callback_of(job_id)
            if url is None:  # the outbox may be younger than the job
                view = self._source.projections.jobs.get(job_id)
                url = (view.callback_url or None) if view is not None else None
            if url is not None:
                messages.append(Queued(receiver_of(url), f"job {job_id}", seq, url))
        seq = entries[-1].seq
        if messages or found.callbacks or seq - self._noted >= NOTED:
            await self._outbox.add(seq, messages, [*found.callbacks.items()])
            self._noted = seq
        self._seq = seq
        for name in {it.receiver for it in messages}:
            self._begin(name)

    # Sending

    def _begin(self, receiver: str) -> _Receiver:
        """Have messages to a receiver sent, if they are not yet."""
        to = self._receivers.setdefault(receiver, _Receiver())
        to.wake.set()
        if to.task is None:
            to.task = asyncio.create_task(self._send_all(receiver, to), name=f"webhook {receiver}")
        return to

    async def _send_all(self, receiver: str, to: _Receiver) -> None:
        """Send messages to a receiver for as long as there may be any."""
        failures = 0
        while True:
            to.wake.clear()
            to.again.clear()
            try:
                due = await self._outbox.due(receiver, time.time(), 1 if failures else AT_ONCE)
                self._faults.pop(receiver, None)
                if due:
                    failures = await self._send_some(receiver, due, failures)
                else:
                    failures, then = 0, await self._outbox.next_due(receiver)
                    if then is None and receiver.startswith(CALLBACKS) and not to.wake.is_set():
                        del self._receivers[receiver]  # there may be very many of these
                        return
                    await _set(to.wake, None if then is None else then - time.time())
            except (LogError, OSError, sqlite3.Error) as error:
                logger.warning("webhook %s: %s; trying again", receiver, error)
                self._faults[receiver], failures = str(error), failures + 1
            except Exception as error:
                logger.exception("webhook %s: a defect", receiver)
                self._faults[receiver], failures = repr(error), failures + 1
            if failures:
                await _set(to.again, min(DOWN_S, _pause_s(failures)))

    async def _send_some(self, receiver: str, due: Sequence[Message], failures: int) -> int:
        """Send messages; gives how often in a row nothing was taken."""
        entries = {it.seq: it for it in await self._source.log.pick([it.seq for it in due])}
        taken = await asyncio.gather(*(self._send(receiver, it, entries.get(it.seq)) for it in due))
        if not any(taken):
            return failures + 1
        if failures >= DOWN:
            logger.warning("webhook %s: takes messages again", receiver)
            await self._outbox.try_again(receiver, dead=False)
        return 0

    async def _send(self, receiver: str, message: Message, entry: LogEntry | None) -> bool:
        """Send one message, and note what came of it."""
        if entry is None:
            logger.warning("webhook %s: the log has no seq %d", receiver, message.seq)
            await self._outbox.taken(message)
            return True
        try:
            await self._post(receiver, message, entry)
        except NotTakenError as error:
            await self._not_taken(receiver, message, str(error))
            return False
        await self._outbox.taken(message)
        self._receivers[receiver].sent += 1
        return True

    async def _post(self, receiver: str, message: Message, entry: LogEntry) -> None:
        body = body_of(entry)
        if message.url is None:
            webhook = self._webhooks[receiver]
            url, secret, sender = webhook.url, webhook.secret, self._of_webhooks
        elif self._callbacks is None or self._of_callbacks is None:
            raise NotTakenError("this dispatcher permits no callbacks now (--callback-allow)")
        else:
            url, (allowed, secret), sender = message.url, self._callbacks, self._of_callbacks
            if (fault := allowed.fault(url)) is not None:
                raise NotTakenError(f"'callback_url' {fault}")
        headers = secret.headers(id_of(entry), int(time.time()), body)
        await sender.send(Post(url, headers, body))

    async def _not_taken(self, receiver: str, message: Message, why: str) -> None:
        webhook = self._webhooks.get(receiver)
        patience_s = 3_600 * (GIVE_UP_HOURS if webhook is None else webhook.give_up_hours)
        now = time.time()
        is_dead = now - (message.failing or now) >= patience_s
        due = now + _pause_s(message.tries + 1)
        await self._outbox.failed(message, now, why, due=due, is_dead=is_dead)
        if message.tries == 0 or is_dead:
            end = "; it is given up" if is_dead else ""
            logger.warning("webhook %s: seq %d: %s%s", receiver, message.seq, why, end)
        if is_dead:
            self._dead.add(receiver)


def _pause_s(failures: int) -> float:
    """Return a pause by lot, so that not all ask a receiver at once when it is back."""
    longest = min(LONGEST_S, FIRST_S * 2.0 ** min(failures - 1, 20))
    return random.uniform(0.5, 1) * longest  # noqa: S311 - no secret


async def _set(event: asyncio.Event, seconds: float | None) -> None:
    """Wait for an event, at most so long."""
    try:
        async with asyncio.timeout(None if seconds is None else max(0.05, seconds)):
            await event.wait()
    except TimeoutError:
        pass
