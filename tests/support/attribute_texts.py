"""Events with attributes whose texts have every shape."""

from __future__ import annotations

from typing import Any

T0 = 1_767_600_000_000


# Texts of every shape that an attribute can have: what is hashed for `conflicts` must not differ by a byte.
ATTRIBUTES: dict[str, Any] = {
    "screen": 'a "quoted"\n\\ line', "float": 1.0, "large": 12345678901234567890, "small": 1e-7, "none": None,
    "yes": True, "list": [1, 2.50, {"b": "\u00e9"}], "nested": {"z": [], "a": {"c": "\u4e2d"}}, "": "empty name",
    "exception.type": "E", "exception.message": "at 0x1f", "http.response.status_code": 503,
}  # fmt: skip
EVENTS: list[dict[str, Any]] = [
    {"id": "e0", "name": "app.screen.view", "time": T0, "seq": 0, "attributes": {"app.screen.name": "Home"}},
    {"id": "e1", "name": "http.client.request", "time": T0 + 1, "seq": 1, "attributes": ATTRIBUTES},
    {"id": "e2", "name": "exception", "time": T0 - 40 * 86_400_000, "seq": 2, "attributes": ATTRIBUTES},
    {"id": "e3", "name": "\u00fc", "time": T0 + 2, "seq": 3},
]
