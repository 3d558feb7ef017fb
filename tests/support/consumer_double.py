"""The transport's consumer without Faust's machinery around it, and without Kafka below it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

from faust.types import TP

from pipeline.streaming.assignment import Assignment, Membership, Progress
from pipeline.streaming.batch_transport import BatchConsumer
from pipeline.streaming.chunk import Chunk
from pipeline.streaming.faust_app import Limits
from pipeline.streaming.handing_over import HandingOver
from pipeline.streaming.vitals import Vitals

SOURCE = TP("source", 0)
OTHER = TP("source", 1)
TIMEOUT_S = 10.0


class Record(NamedTuple):
    offset: int
    timestamp: int = 0
    timestamp_type: int = 1
    key: bytes | None = b"k"
    value: bytes | None = b"v"


class Thread:
    """The thread of aiokafka's consumer, as it is asked."""

    def __init__(self) -> None:
        self.confirmed_s = 100.0
        self.member_id = "me"
        self.refusal: Exception | None = None
        self.rejoined = 0
        self.committed: list[Mapping[TP, int]] = []
        self.takes_commits = True
        self.fetched: list[Any] = []
        """What fetches bring, one after the other: records and the sources at their end, or an error."""
        self.asked: list[tuple[list[TP], bool]] = []
        """The sources of each fetch, and whether others waited."""
        self.read: list[Mapping[TP, int]] = []
        self.begins: dict[TP, int] = {}

    async def rejoin(self) -> None:
        self.rejoined += 1

    async def commit_offsets(self, offsets: Mapping[TP, int], notes: Mapping[TP, Any]) -> bool:
        assert notes.keys() == offsets.keys()
        self.committed.append(dict(offsets))
        return self.takes_commits

    async def fetch(self, sources: Collection[TP], *, others_wait: bool = False) -> Any:
        self.asked.append((sorted(sources), others_wait))
        found = self.fetched.pop(0)
        if isinstance(found, Exception):
            raise found
        return found() if callable(found) else found

    async def read_from(self, offsets: Mapping[TP, int]) -> None:
        self.read.append(dict(offsets))

    async def earliest(self, partitions: Collection[TP]) -> dict[TP, int]:
        return {tp: self.begins[tp] for tp in partitions}


class Consumer(BatchConsumer):
    """The transport's consumer without Faust's machinery around it."""

    def __init__(self) -> None:
        self._thread = Thread()
        self.app = SimpleNamespace(
            conf=SimpleNamespace(broker_session_timeout=TIMEOUT_S),
            limits=Limits(max_chunk=2, max_chunk_bytes=1_000),
            consumer=self,
            crashed=False,
        )
        self._membership = Membership()
        self._unacked_messages = self._membership.in_hand
        self._topics_seen = {}
        self.vitals = Vitals()
        self._delivery_begun, self._acknowledged = asyncio.Event(), asyncio.Event()
        self._fetching = asyncio.Lock()
        self._handing_over = HandingOver({})
        self.suspend_flow = asyncio.Event()
        self.chunks: list[Chunk] = []
        self.futures: list[Coroutine[Any, Any, Any]] = []

    async def _in_thread(self, work: Coroutine[Any, Any, Any]) -> Any:
        return await work

    def add_future(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        self.futures.append(coroutine)

    async def callback(self, chunk: Chunk) -> None:
        self.chunks.append(chunk)
        self._unacked_messages.add(chunk)

    async def wait_first(self, *awaitables: Any, **_: Any) -> None:
        try:
            await awaitables[0]
        finally:
            for other in awaitables[1:]:
                other.close()

    async def commit(self, *_: Any, **__: Any) -> bool:
        return await self.force_commit()

    def open(self, generation: int = 1, *, at: int = 0) -> Assignment:
        """A new assignment, read from an offset on."""
        previous = self.assignment_in_force
        if previous is not None:
            previous.close(set(), lost=True)
        made = Assignment(generation, "me", frozenset({SOURCE, OTHER}))
        made.sources = {tp: Progress(at) for tp in (SOURCE, OTHER)}
        made.committed = dict.fromkeys(made.sources, at)
        self._membership.in_force = made
        return made

    def deliver(self, assignment: Assignment, *offsets: int) -> Chunk:
        records = [Record(offset) for offset in offsets]
        chunk = Chunk(SOURCE, records, assignment, assignment.sources[SOURCE].deliver(offsets[-1] + 1))
        self._unacked_messages.add(chunk)
        return chunk
