"""What a process and its descendants have used, read from /proc (Linux alone)."""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")
_TICKS_S = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """The process and all that descend from it, those that live now."""
    parents = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents[int(entry.name)] = int(fields[1])
    found = [pid] if pid in parents else []
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found


def cpu_s(pid: int) -> float:
    """CPU seconds, user and system, of the family, with those of its children that have ended and been waited for."""
    ticks = 0
    for member in family(pid):
        if fields := _stat(member):
            ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS_S


def peak_rss_mb(pid: int) -> float:
    """The sum of the family's peaks of resident memory, in MB of 10^6 bytes."""
    return _memory_mb(pid, "VmHWM:")


def rss_mb(pid: int) -> float:
    """The family's resident memory now, in MB of 10^6 bytes."""
    return _memory_mb(pid, "VmRSS:")


def _memory_mb(pid: int, field: str) -> float:
    kib = 0
    for member in family(pid):
        try:
            status = (_PROC / str(member) / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        kib += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith(field))
    return kib * 1024 / 1e6


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, the state first; empty if the process is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    # The name stands in parentheses and may hold anything.
    return text.rpartition(")")[2].split()
