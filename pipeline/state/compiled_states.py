"""What the compiled core keeps of a partition's devices in the place of Python's dictionaries: the encoded states and
their deadlines, with a third of the memory.

It takes what it knows: entries of devices, of the version that is written. The others it gives back, and they are
taken one by one as they are in Python, which raises what is to be raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pipeline.state.deadlines import Deadlines, DueOf, Timetable
from pipeline.state.store import DeviceStates


class CompiledStates(DeviceStates):
    """`DeviceStates` whose encoded states are in the core; those that Python needs decoded are decoded here."""

    def __init__(self, core: Any) -> None:
        super().__init__(durable=core)
        self._core = core

    def restore_many(self, items: Mapping[bytes, bytes]) -> Iterable[tuple[bytes, bytes]]:
        left: list[tuple[bytes, bytes]] = self._core.restore(items if type(items) is dict else dict(items))
        return left

    def commit_many(self, states: Sequence[tuple[bytes, bytes | None]]) -> None:
        super().commit_many(self._core.commit(states))


class CompiledTimetable(Timetable):
    """`Timetable` whose heaps are in the core, beside the devices."""

    def __init__(self, due_of: DueOf, core: Any) -> None:
        super().__init__(due_of)
        self._core = core
        self._idle = _CompiledDeadlines(lambda key: due_of(key)[0], core, 0)
        self._final = _CompiledDeadlines(lambda key: due_of(key)[1], core, 1)

    @property
    def open_count(self) -> int:
        return int(self._core.open_count)

    def note(self, key: bytes, idle_ms: int | None, final_ms: int | None) -> None:
        self._core.touch([(key, idle_ms, final_ms)])

    def note_many(self, touched: Sequence[tuple[bytes, int | None, int | None]]) -> None:
        self._core.touch(touched)


class _CompiledDeadlines(Deadlines):
    def __init__(self, due_of: Callable[[bytes], int | None], core: Any, which: int) -> None:
        super().__init__(due_of)
        self._core, self._which = core, which

    def note(self, key: bytes, due_ms: int) -> None:
        self._core.note(self._which, key, due_ms)

    def _pop(self, now_ms: int, limit: int) -> list[bytes]:
        keys: list[bytes] = self._core.pop(self._which, now_ms, limit)
        return keys
