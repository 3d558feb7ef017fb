"""Whose program is at the other end of a connection within this machine, as Linux reports it."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

# A program may have connected by a socket of either family.
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_MAPPED = "0000000000000000FFFF0000"
_LOCAL, _REMOTE, _OWNER = 1, 2, 7


def owner_of(peer: tuple[str, int], own: tuple[str, int]) -> int | None:
    """The user id of the program at `peer`, connected to `own`; both IPv4. None where that cannot be known.

    A connection that has ended is nobody's any more, and is None as well.
    """
    ends = _written(peer), _written(own)
    for table in _TABLES:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:  # another system
            continue
        for line in lines:
            columns = line.split()
            if (columns[_LOCAL].removeprefix(_MAPPED), columns[_REMOTE].removeprefix(_MAPPED)) == ends:
                return int(columns[_OWNER])
    return None


def _written(address: tuple[str, int]) -> str:
    """As in the kernel's table: the address as a number of this machine's byte order."""
    (number,) = struct.unpack("=I", socket.inet_aton(address[0]))
    return f"{number:08X}:{address[1]:04X}"
