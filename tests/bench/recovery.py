"""What many open devices cost: memory while they are open, and time until a new owner has them all."""

from __future__ import annotations

import time

from pipeline import topics
from tests.bench.corpus import one_each
from tests.bench.processes import cpu_s, peak_rss_mb, rss_mb
from tests.bench.rig import Figures, rig
from tests.bench.workers import Options


def of_many_devices(events: int, options: Options, broker: str, rounds: int) -> list[Figures]:
    """A worker that has opened a session of every device is killed; another one takes over from the changelog.

    `recovery_s` is from its start, Python's included, to when it reads its partition. `events` is not used: there is
    one for each of `options["devices"]`, and each device has one.
    """
    del events
    loaded = one_each(int(options["devices"]))
    found = []
    for _ in range(rounds):
        with rig(broker) as running:
            running.load(topics.SDK_EVENTS, loaded)
            first = running.start("sessionizer")
            running.wait([first], lambda: running.done("sessionizer") >= len(loaded), running.progress)
            open_mb, peak_mb = rss_mb(first.pid or 0), peak_rss_mb(first.pid or 0)
            first.kill()
            started_s = time.monotonic()
            second = running.start("sessionizer")
            recovery_s = time.monotonic() - started_s
            recovered_mb, recovered_peak_mb = rss_mb(second.pid or 0), peak_rss_mb(second.pid or 0)
            found.append(
                {
                    "cpu_s": cpu_s(second.pid or 0),
                    "wall_s": recovery_s,
                    "recovery_s": recovery_s,
                    "rss_mb": max(peak_mb, recovered_peak_mb),
                    "rss_open_mb": open_mb,
                    "rss_recovered_mb": recovered_mb,
                    "open_bytes_per_device": open_mb * 1e6 / len(loaded),
                }
            )
            running.stop(second)
    return found
