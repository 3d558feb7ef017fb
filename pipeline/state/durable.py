"""What is durable of a partition's devices, encoded: the base and the steps of each (`store.DeviceStates`)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Protocol


class Durable(Protocol):
    """By device key. Never blocks. `DurableParts` is the definition; the compiled core has its own, in less memory."""

    @property
    def byte_count(self) -> int:
        """Of all parts."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def __contains__(self, key: bytes, /) -> bool: ...

    def parts(self, key: bytes, /) -> tuple[bytes | None, bytes | None]:
        """The base and the steps of a device; None where there are none."""

    def weight(self, key: bytes, /) -> int:
        """Bytes of both."""

    def with_steps(self) -> list[bytes]:
        """The devices that have steps."""

    def put_base(self, key: bytes, value: bytes, /) -> None:
        """Take a base over; the steps stay as they are."""

    def put_steps(self, key: bytes, value: bytes, /) -> None:
        """Take steps over."""

    def drop_base(self, key: bytes, /) -> None:
        """Let a base go, if there is one."""

    def drop_steps(self, key: bytes, /) -> None:
        """Let steps go, if there are any."""


class DurableParts:
    """In dictionaries."""

    def __init__(self) -> None:
        self._bases: dict[bytes, bytes] = {}
        self._steps: dict[bytes, bytes] = {}
        self._new: set[bytes] = set()
        """Devices that have steps alone."""
        self.byte_count = 0

    def __len__(self) -> int:
        return len(self._bases) + len(self._new)

    def __iter__(self) -> Iterator[bytes]:
        return chain(self._bases, self._new)

    def __contains__(self, key: bytes) -> bool:
        return key in self._bases or key in self._new

    def parts(self, key: bytes) -> tuple[bytes | None, bytes | None]:
        return self._bases.get(key), self._steps.get(key)

    def weight(self, key: bytes) -> int:
        return len(self._bases.get(key, b"")) + len(self._steps.get(key, b""))

    def with_steps(self) -> list[bytes]:
        return list(self._steps)

    def put_base(self, key: bytes, value: bytes) -> None:
        self.byte_count += len(value) - len(self._bases.get(key, b""))
        self._bases[key] = value
        self._new.discard(key)

    def put_steps(self, key: bytes, value: bytes) -> None:
        self.byte_count += len(value) - len(self._steps.get(key, b""))
        self._steps[key] = value
        if key not in self._bases:
            self._new.add(key)

    def drop_base(self, key: bytes) -> None:
        self.byte_count -= len(self._bases.pop(key, b""))
        if key in self._steps:
            self._new.add(key)

    def drop_steps(self, key: bytes) -> None:
        self.byte_count -= len(self._steps.pop(key, b""))
        self._new.discard(key)
