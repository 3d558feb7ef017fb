"""Writing for others who wait: the broker has the records on return, or it is said within seconds that it has not.

aiokafka by itself waits long for a broker that is away, and an idempotent producer of it for ever. Here a watch asks
the broker every second, so that nobody waits for one that is known to be away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer, errors

from pipeline.errors import Terminal
from pipeline.kafka.connection import COMPRESSION, KafkaConnection
from pipeline.kafka.errors import BrokerUnavailable, KafkaRefused, kafka_errors
from pipeline.kafka.produce import RecordToSend
from pipeline.topics import MAX_MESSAGE_BYTES

_LINGER_MS = 5
_BATCH_BYTES = 1_000_000
"""One request has one batch for each partition: what arrives while one is under way goes into the next."""
_REQUEST_TIMEOUT_MS = 10_000
_ANSWER_S = 5.0
"""How long records may take; those who wait give up after 10 s as a rule, and are to be told before."""
_WATCH_S = 1.0
_PROBE_S = 3.0
_TRIES_BEFORE_PLAIN = 3
_STOP_S = 5.0

log = logging.getLogger(__name__)


class RecordTooLarge(Terminal):
    """The broker would not take a record for its size."""


class Writer(Protocol):
    """Where records go."""

    @property
    def is_up(self) -> bool:
        """Whether the broker answered lately: what is written now should be there soon."""

    async def write(
        self, records: Sequence[RecordToSend], settled: Callable[[], None] = lambda: None
    ) -> None:
        """Returns once the broker has all records, on all replicas in sync.

        Raises `BrokerUnavailable` if it does not within seconds, and at once where it is known to be away; some of the
        records may be written then, now or later. Raises `RecordTooLarge`, and `KafkaRefused` for what is refused
        otherwise. `settled` is called once, when the records take no more memory: that may be later.
        """


class KafkaWriter:
    """Writes with one idempotent producer, which it replaces where its sequence is broken. For one event loop.

    A broker that gives no producer ids (the embedded one) is written to without: what is sent twice may then be there
    twice.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        *,
        answer_s: float = _ANSWER_S,
        make: Callable[..., Any] = AIOKafkaProducer,
    ) -> None:
        """Nothing is connected before `run`; `make` makes producers."""
        self._connection = connection
        self._answer_s = answer_s
        self._make = make
        self._producer: Any = None
        self._is_up = False
        self._is_idempotent = True
        self._refusals = 0
        self._is_broken = False
        self._came_up = asyncio.Event()

    @property
    def is_up(self) -> bool:
        return self._is_up and not self._is_broken

    async def run(self) -> None:
        """Connects, and watches until cancelled; nothing ends it otherwise."""
        while True:
            try:
                await self._watch()
            except (errors.KafkaError, OSError, TimeoutError) as error:
                self._away(repr(error))
            await asyncio.sleep(_WATCH_S)

    async def wait_until_up(self, timeout_s: float) -> None:
        """Until the broker answers, and no longer than that; somebody has to `run` meanwhile."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._came_up.wait(), timeout_s)

    async def write(
        self, records: Sequence[RecordToSend], settled: Callable[[], None] = lambda: None
    ) -> None:
        under_way: list[asyncio.Future[Any]] = []
        try:
            if not self.is_up:
                raise BrokerUnavailable(
                    f"Kafka at {self._connection.bootstrap} does not answer at the moment"
                )
            producer = self._producer
            with self._noticing(producer), kafka_errors(self._connection.bootstrap):
                async with asyncio.timeout(self._answer_s):
                    for record in records:
                        under_way.append(await _send(producer, record))
                    await asyncio.wait(under_way)
                for future in under_way:
                    future.result()
        finally:
            _when_all_done(under_way, settled)

    async def stop(self) -> None:
        """Waits until the broker has what is under way, some seconds at most, and closes the connections."""
        self._is_up = False
        producer, self._producer = self._producer, None
        if producer is not None:
            await _close(producer)

    @contextmanager
    def _noticing(self, producer: Any) -> Iterator[None]:
        """Whether what happens within breaks the sequence of the producer, or has ended it."""
        try:
            yield
        except KafkaRefused as error:
            # Numbers are used up that the broker has not seen: all that follows would be out of order.
            if self._producer is producer:
                self._is_broken = True
            if isinstance(error.__cause__, errors.MessageSizeTooLargeError):
                raise RecordTooLarge(
                    "the topic takes no record of this size: its max.message.bytes"
                ) from error
            raise

    async def _watch(self) -> None:
        if self._is_broken and self._producer is not None:
            log.warning("Kafka refused the producer's sequence: going on with a new one")
            producer, self._producer = self._producer, None
            self._is_up = False
            await _close(producer)
        if self._producer is None:
            await self._connect()
        # Also tells a broker that is frozen: its connection is there, and nothing comes.
        if not await asyncio.wait_for(
            asyncio.shield(self._producer.client.force_metadata_update()), _PROBE_S
        ):
            self._away("no metadata")
        elif not self._is_up:
            log.info("Kafka at %s answers", self._connection.bootstrap)
            self._is_up = True
            self._came_up.set()

    async def _connect(self) -> None:
        producer = self._make(
            **self._connection.client_options(),
            acks="all",
            enable_idempotence=self._is_idempotent,
            max_request_size=MAX_MESSAGE_BYTES,
            max_batch_size=_BATCH_BYTES,
            linger_ms=_LINGER_MS,
            compression_type=COMPRESSION,
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
        )
        try:
            await producer.start()
        except BaseException as error:
            await _close(producer)
            if isinstance(error, _UNABLE):
                self._refusals += 1
                if self._refusals == _TRIES_BEFORE_PLAIN:
                    log.info(
                        "this broker gives no producer ids (it says %r; the embedded one of `up` has none): no fault. "
                        "What is sent again after an error may be in Kafka twice; ids of events make that harmless",
                        error,
                    )
                    self._is_idempotent = False
                if self._refusals <= _TRIES_BEFORE_PLAIN:
                    return await self._connect()
            raise
        self._producer, self._is_broken = producer, False

    def _away(self, why: str) -> None:
        if self._is_up:
            log.warning("Kafka at %s does not answer: %s", self._connection.bootstrap, why)
        self._is_up = False


_UNABLE = (errors.UnknownError, errors.UnsupportedVersionError, errors.IncompatibleBrokerVersion)
"""How brokers without producer ids answer when they are asked for one; others may for a moment, at their start."""


async def _send(producer: Any, record: RecordToSend) -> asyncio.Future[Any]:
    try:
        future: asyncio.Future[Any] = await producer.send(
            record.topic, record.value, key=record.key, headers=list(record.headers)
        )
    except errors.MessageSizeTooLargeError as error:
        # The client's own bound: the broker was not asked.
        raise RecordTooLarge(f"a record of {len(record.value)} bytes is over {MAX_MESSAGE_BYTES}") from error
    return future


async def _close(producer: Any) -> None:
    """Close a producer, once the broker has what is under way or has not taken it for some seconds."""
    try:
        await asyncio.wait_for(producer.stop(), _STOP_S)
    except (errors.KafkaError, OSError, TimeoutError) as error:
        log.warning("what was under way to Kafka is given up: %r", error)
        # It would try for ever, and those who count on the memory wait for the end of each record.
        producer._message_accumulator.fail_all(errors.KafkaTimeoutError())
        with suppress(errors.KafkaError, OSError, TimeoutError):
            await asyncio.wait_for(_end(producer), _STOP_S)


async def _end(producer: Any) -> None:
    await producer._sender.close()
    await producer.client.close()


def _when_all_done(futures: Sequence[asyncio.Future[Any]], settled: Callable[[], None]) -> None:
    """Call `settled` once all are done. Whether they failed is not asked here; those who waited were told."""
    left = len(futures)

    def done(future: asyncio.Future[Any]) -> None:
        nonlocal left
        left -= 1
        if not future.cancelled():
            future.exception()
        if not left:
            settled()

    if not futures:
        settled()
    for future in futures:
        future.add_done_callback(done)
