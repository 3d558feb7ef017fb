"""Operating systems: one spelling of each, for SDKs write the same one in different cases."""

from __future__ import annotations

from collections.abc import Mapping

OS_NAMES: tuple[str, ...] = (
    *("Android", "iOS", "iPadOS", "tvOS", "watchOS", "visionOS", "macOS"),
    *("Windows", "Linux", "ChromeOS", "HarmonyOS", "KaiOS", "Tizen"),
)
"""As their makers write them."""
_SPELLED: Mapping[str, str] = {name.lower(): name for name in OS_NAMES}


def os_spelling(name: str) -> str:
    """A system's name as its maker writes it; one that is not known stays as it is."""
    return _SPELLED.get(name.lower(), name)
