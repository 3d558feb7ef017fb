"""Images of a process, as an event of Sentry's lists them, and addresses in them.

A frame that names no function is written down as Android writes one, with the id of its image: whoever has the image's
symbols can then read it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, NamedTuple

_MOST = 4_000
_MOST_SCRIPTS = 100
_URL_CHARS = 500
_ID_CHARS = 36
"""Of a debug id; what follows counts the age of a PDB."""
_UNKNOWN_SIZE = 1 << 32
_MOST_OVERLAPPING = 8
"""Images lie one behind the other. Of those that say otherwise so many are looked at for an address: all of them for
each frame would be a hundred million steps for one event."""


class _DebugImage(NamedTuple):
    start: int
    size: int
    id: str
    name: str


class DebugImages:
    """`debug_meta` of an event; what is none has no images."""

    def __init__(self, debug_meta: object) -> None:
        images = debug_meta.get("images") if isinstance(debug_meta, dict) else None
        self._images: list[_DebugImage] = []
        self.script_ids: dict[str, str] = {}
        """The debug ids of scripts by their URLs: whoever has a source map of that id can read their frames."""
        self.mapping_id = ""
        """The UUID of the ProGuard or R8 mapping; empty where there is none."""
        for each in images[:_MOST] if isinstance(images, list) else ():
            if isinstance(each, dict):
                id = each.get("debug_id") or each.get("uuid") or each.get("code_id")
                if isinstance(id, str) and id:
                    self._add(each, id)
        self._images.sort(key=lambda image: image.start)
        self._starts = [image.start for image in self._images]

    def _add(self, image: Mapping[str, Any], id: str) -> None:
        if image.get("type") == "proguard":
            self.mapping_id = self.mapping_id or id[:_ID_CHARS]
        elif image.get("type") == "sourcemap":
            url = image.get("code_file")
            if isinstance(url, str) and url and len(self.script_ids) < _MOST_SCRIPTS:
                self.script_ids[url[:_URL_CHARS]] = id[:_ID_CHARS]
        elif (start := _address(image.get("image_addr"))) is not None:
            size, name = image.get("image_size"), image.get("code_file") or image.get("debug_file")
            self._images.append(
                _DebugImage(
                    start,
                    (size if isinstance(size, int) else 0) or _UNKNOWN_SIZE,
                    id[:_ID_CHARS].replace("-", "").lower(),
                    name if isinstance(name, str) else "",
                )
            )

    def line(self, frame: Mapping[str, Any], number: int) -> str:
        """A frame without a function as a line, the innermost being number 0; empty where its image is not known."""
        if not self._images or frame.get("function"):
            return ""
        address = _address(frame.get("instruction_addr"))
        if address is None:
            return ""
        nearest = bisect_right(self._starts, address)
        for image in reversed(self._images[max(0, nearest - _MOST_OVERLAPPING) : nearest]):
            if address < image.start + image.size:
                # The address of a caller is where the call comes back to: here it is to be within the call.
                at = address - image.start - (1 if number else 0)
                name = frame.get("package") or image.name
                if at >= 0 and isinstance(name, str) and name and image.id.isalnum():
                    return f"#{number:02d} pc {at:016x}  {name.replace(' ', '_')} (BuildId: {image.id})"
        return ""


def _address(value: object) -> int | None:
    try:
        return int(value, 0) if isinstance(value, str) and len(value) <= 20 else None
    except ValueError:
        return None
