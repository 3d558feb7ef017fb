"""Which lifecycle events of a Measure body say that a screen appeared, and which screen.

One screen appears once, though it is told of many times: loaded, about to appear, there; by the activity and the
fragments in it; by a controller, those that frame it and those that it is made of. Only the word for being there
counts, and only of what can be a screen by what the event itself says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_APPEARED = {
    "lifecycle_activity": "resumed",
    "lifecycle_fragment": "resumed",
    "lifecycle_view_controller": "viewDidAppear",
    "lifecycle_swift_ui": "on_appear",
}
_OF_THE_SYSTEM = re.compile(r"_?UI[A-Z][A-Za-z0-9_]*")
"""Keyboards, alerts, and containers such as UINavigationController, whose child tells of itself. A hosting
controller is there for one view of the app, and its class names it: `UIHostingController<CartView>`."""
_CONTAINER_OF_FRAGMENTS = "NavHostFragment"
"""Of AndroidX Navigation; what it holds are the screens."""


def appeared(type_: str, values: Mapping[str, Any]) -> str | None:
    """The class of the screen that appeared, as the event says it; None if it says no such thing."""
    if type_ not in _APPEARED or values.get("type") != _APPEARED[type_]:
        return None
    name = values.get("class_name")
    if not isinstance(name, str) or not name:
        return None
    if type_ == "lifecycle_view_controller" and _OF_THE_SYSTEM.fullmatch(name):
        return None
    if type_ == "lifecycle_fragment" and (_is_container(name) or not _is_outermost(values)):
        return None
    return name


def _is_outermost(values: Mapping[str, Any]) -> bool:
    """Whether a fragment is the screen, and no part of one that another fragment is."""
    parent = values.get("parent_fragment")
    return not isinstance(parent, str) or not parent or _is_container(parent)


def _is_container(class_name: str) -> bool:
    return class_name.rpartition(".")[2] == _CONTAINER_OF_FRAGMENTS
