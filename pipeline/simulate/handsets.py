"""The phones that the simulated people own, a few that everybody has and a long tail, and their browsers."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.simulate.dice import Weighted


class Handset(NamedTuple):
    """A model of phone or tablet."""

    manufacturer: str
    identifier: str
    """What the device calls itself: `SM-S918B`, `iPhone17,1`."""
    name: str
    """What people call it."""


_POPULAR_ANDROID: tuple[tuple[str, str, str, int], ...] = (
    ("samsung", "SM-S918B", "Galaxy S23 Ultra", 70),
    ("samsung", "SM-S921B", "Galaxy S24", 80),
    ("samsung", "SM-S931B", "Galaxy S25", 60),
    ("samsung", "SM-A546B", "Galaxy A54", 110),
    ("samsung", "SM-A155F", "Galaxy A15", 90),
    ("samsung", "SM-A135F", "Galaxy A13", 60),
    ("samsung", "SM-X210", "Galaxy Tab A9+", 25),
    ("Google", "Pixel 7a", "Pixel 7a", 35),
    ("Google", "Pixel 8", "Pixel 8", 45),
    ("Google", "Pixel 9 Pro", "Pixel 9 Pro", 30),
    ("Xiaomi", "23021RAAEG", "Redmi Note 12", 85),
    ("Xiaomi", "23129RAA4G", "Redmi Note 13", 75),
    ("Xiaomi", "2201117TG", "Redmi Note 11", 45),
    ("OPPO", "CPH2591", "A58", 35),
    ("OnePlus", "CPH2449", "OnePlus 11", 20),
    ("motorola", "moto g54 5G", "moto g54", 40),
    ("vivo", "V2250", "Y36", 30),
    ("TECNO", "TECNO BG6", "Spark Go", 30),
    ("HONOR", "REA-NX9", "HONOR 90", 20),
)
_IOS: tuple[tuple[str, str, int], ...] = (
    ("iPhone12,1", "iPhone 11", 70),
    ("iPhone12,8", "iPhone SE (2nd generation)", 30),
    ("iPhone13,2", "iPhone 12", 90),
    ("iPhone14,2", "iPhone 13 Pro", 60),
    ("iPhone14,5", "iPhone 13", 140),
    ("iPhone14,7", "iPhone 14", 110),
    ("iPhone15,2", "iPhone 14 Pro", 70),
    ("iPhone15,4", "iPhone 15", 120),
    ("iPhone16,1", "iPhone 15 Pro", 80),
    ("iPhone16,2", "iPhone 15 Pro Max", 75),
    ("iPhone17,1", "iPhone 16 Pro", 85),
    ("iPhone17,3", "iPhone 16", 95),
    ("iPhone18,3", "iPhone 17", 40),
    ("iPad13,18", "iPad (10th generation)", 30),
    ("iPad14,1", "iPad mini (6th generation)", 10),
)
_TAIL_MAKERS = (
    "Infinix",
    "itel",
    "LAVA",
    "Nokia",
    "realme",
    "Sony",
    "TCL",
    "WIKO",
    "ZTE",
    "Fairphone",
    "ASUS",
    "LGE",
)


def _android() -> list[tuple[Handset, int]]:
    popular = [
        (Handset(maker, identifier, name), weight) for maker, identifier, name, weight in _POPULAR_ANDROID
    ]
    tail = [
        # A few letters and figures from the place in the list: models nobody has heard of.
        (
            Handset(maker, f"{maker[:2].upper()}{number * 37 % 900 + 100}", f"{maker} {number + 1}"),
            13 - number,
        )
        for maker in _TAIL_MAKERS
        for number in range(12)
    ]
    return popular + tail


HANDSETS: dict[str, Weighted[Handset]] = {
    "Android": Weighted(_android()),
    "iOS": Weighted((Handset("Apple", identifier, name), weight) for identifier, name, weight in _IOS),
}

OS_VERSIONS: dict[str, Weighted[str]] = {
    "Android": Weighted([("10", 5), ("11", 9), ("12", 13), ("13", 22), ("14", 28), ("15", 18), ("16", 5)]),
    "iOS": Weighted([("16.7.10", 7), ("17.6.1", 15), ("18.3.1", 24), ("18.6.2", 32), ("26.1", 22)]),
}


class Browser(NamedTuple):
    """A browser and the system that it runs on."""

    name: str
    version: str
    os_name: str
    os_version: str


BROWSERS: Weighted[Browser] = Weighted(
    [
        (Browser("Chrome", "143.0", "Windows", "11"), 40),
        (Browser("Chrome", "143.0", "Android", "15"), 20),
        (Browser("Safari", "26.1", "macOS", "26.1"), 14),
        (Browser("Safari", "18.6", "iOS", "18.6.2"), 12),
        (Browser("Firefox", "146.0", "Linux", ""), 6),
        (Browser("Edge", "143.0", "Windows", "10"), 8),
    ]
)
