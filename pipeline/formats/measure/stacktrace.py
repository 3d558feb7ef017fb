"""A chain of exceptions, each with its frames, as the text that a developer is used to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def stacktrace(exceptions: Sequence[Any], max_chars: int) -> str:
    """Head lines and frames, the first exception first; empty if there is no frame at all.

    What would go over `max_chars` is left out, whole lines from the end, and the text says how many.
    """
    chain = [exception for exception in exceptions if isinstance(exception, dict)]
    frame_count = sum(isinstance(frame, dict) for exception in chain for frame in _frames(exception))
    if not frame_count:
        return ""
    kept: list[str] = []
    room = max_chars - len("… 99999999 lines more")
    # Lines are made one by one: a chain of 50,000 frames costs no more than what is kept of it.
    for line in _lines(exceptions):
        room -= len(line) + 1
        if room < 0:
            kept.append(f"… {len(chain) + frame_count - len(kept)} lines more")
            break
        kept.append(line)
    return "\n".join(kept)


def _lines(exceptions: Sequence[Any]) -> Iterator[str]:
    for position, exception in enumerate(exceptions):
        if not isinstance(exception, dict):
            continue
        title = ": ".join(str(part) for key in ("type", "message") if (part := exception.get(key)))
        title = title or str(exception.get("signal") or "unknown")
        yield f"Caused by: {title}" if position else title
        for frame in _frames(exception):
            if isinstance(frame, dict):
                yield f"\tat {_place(frame)}"


def _frames(exception: Mapping[str, Any]) -> Sequence[Any]:
    frames = exception.get("frames")
    return frames if isinstance(frames, list) else ()


def _place(frame: Mapping[str, Any]) -> str:
    code = ".".join(str(part) for key in ("class_name", "method_name") if (part := frame.get(key)))
    source = f"{frame.get('module_name') or ''}{frame.get('file_name') or ''}"
    line = frame.get("line_num")
    if source and isinstance(line, int) and line > 0:
        source = f"{source}:{line}"
    if code or source:
        return f"{code}({source})" if source else code
    address = frame.get("symbol_address") or frame.get("instruction_address") or frame.get("binary_address")
    return " ".join(str(part) for part in (frame.get("binary_name"), address) if part) or "unknown"
