"""Wrong passwords, counted by address. Pure: time is given, and is any clock's that only goes on."""

from __future__ import annotations

import ipaddress

_FREE = 5
"""Slips of the fingers."""
_LONGEST_S = 900.0
_FORGET_S = 86_400.0


class Attempts:
    """After some slips an address waits, twice as long with each wrong password; others are not concerned.

    Nobody is held waiting: a try that comes too early is refused, and its password not looked at.
    """

    def __init__(self, *, most: int = 10_000) -> None:
        """At most so many addresses are remembered; then those whose last failure is the longest ago go."""
        self._most = most
        # Where the last failure is the longest ago comes first.
        self._failures: dict[str, tuple[int, float]] = {}

    def __len__(self) -> int:
        return len(self._failures)

    def wait_s(self, address: str, now_s: float) -> float:
        """How long until this address may try again; 0 is now."""
        count, last_s = self._failures.get(address, (0, now_s))
        if count < _FREE or now_s - last_s >= _FORGET_S:
            return 0.0
        return float(max(0.0, last_s + min(2.0 ** min(count - _FREE, 60), _LONGEST_S) - now_s))

    def failed(self, address: str, now_s: float) -> None:
        """A wrong password came from there."""
        count, last_s = self._failures.pop(address, (0, now_s))
        self._failures[address] = (1 if now_s - last_s >= _FORGET_S else count + 1, now_s)
        if len(self._failures) > self._most:
            del self._failures[next(iter(self._failures))]

    def succeeded(self, address: str) -> None:
        """The right password came from there."""
        self._failures.pop(address, None)


def neighbourhood(peer: str) -> str:
    """Which address a peer is counted under: itself, or its /64 for IPv6, of which everybody has a whole one.

    A port that a proxy wrote with it does not count. All that are not addresses count as one.
    """
    text = peer.partition("]")[0].removeprefix("[") if peer.startswith("[") else peer
    if text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
