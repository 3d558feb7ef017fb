"""What a simulated device measures: how long a start and a screen take, what that costs it.

All of it follows from who measures and how much was told before. Nothing is taken from the dice, so that the rest of
the traffic stays as it is.
"""

from __future__ import annotations

from hashlib import blake2b

from pipeline.simulate.device import Device, Json

_TYPICAL_START_MS = {"cold": 1_400, "warm": 520, "hot": 210}
_TYPICAL_LOAD_MS = 260
_SPREAD_PERCENT = (48, 60, 70, 80, 90, 100, 110, 122, 138, 160, 195, 250, 340, 520)
_SLOW_RELEASE_PERCENT = 165
"""Of the start of an app whose release answers slowly, too."""
_MIB = 1_048_576
_WORTH = 1_000
_VITALS = (("lcp", 1_700), ("inp", 130), ("fcp", 1_100), ("ttfb", 420))


def of_start(device: Device, kind: str) -> Json:
    """Of a start of a type (cold, warm, hot)."""
    took_ms = _TYPICAL_START_MS[kind] * _spread(device, "start") // 100
    if device.release.slow_factor > 1:
        took_ms = took_ms * _SLOW_RELEASE_PERCENT // 100
    return {"app.launch.type": kind, "app.launch.duration_ms": took_ms}


def of_screen(device: Device) -> Json:
    """Of a screen that is shown: how long it took to load, what that took, slow frames, a vital of a page."""
    load_ms = _TYPICAL_LOAD_MS * _spread(device, "load") // 100
    measured: Json = {"app.screen.load_ms": load_ms}
    if device.platform == "Web":
        name, typical_ms = _VITALS[_chance(device, "vital") % len(_VITALS)]
        return {**measured, f"browser.web_vital.{name}": typical_ms * _spread(device, name) // 100}
    measured["process.cpu.utilization"] = (30 + _chance(device, "cpu") // 3) / _WORTH
    measured["process.memory.usage"] = (90 + _chance(device, "memory") // 8 + device.screen * 9) * _MIB
    if (jank := _chance(device, "frames")) < 220:
        measured["app.frames.total"], measured["app.frames.slow"] = 240, 1 + jank % 17
        measured["app.frames.frozen"] = int(jank < 40)
    return measured


def _spread(device: Device, what: str) -> int:
    """Percent of what is typical."""
    return _SPREAD_PERCENT[_chance(device, what) * len(_SPREAD_PERCENT) // _WORTH]


def _chance(device: Device, what: str) -> int:
    """From 0 to 999."""
    told = f"{device.id} {what} {device.seq}".encode()
    return int.from_bytes(blake2b(told, digest_size=4).digest()) % _WORTH
