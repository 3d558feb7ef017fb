"""What the devices of a partition cost that holds them: memory an open device, and time until a new owner has them.

Without Kafka and ClickHouse, in a process of its own: what `recovery` measures of a whole worker, this tells of the
partition alone. Which core does it is a setting, as of workers (`PIPELINE_CORE`).
"""

from __future__ import annotations

import ctypes
import gc
import os
import time
from collections.abc import Iterator, Mapping
from random import Random
from uuid import UUID

from pipeline import compiled
from pipeline.domain.policy import Policies
from pipeline.domain.privacy import Privacy, Samplings
from pipeline.formats.edge import Edge
from pipeline.runtime import fit_garbage_collection
from pipeline.state.compiled_partition import partitions_by
from pipeline.state.partition import Partition
from pipeline.state.records import SourceRecord
from tests.bench.corpus import EVENTS_PER_S, START_MS, one_event
from tests.bench.processes import rss_mb

_CHUNK = 1_000
_EDGE = Edge(Privacy(), Samplings())


def held(events: int, options: Mapping[str, float]) -> dict[str, float]:
    """Memory of devices that have sent `each` records of one event, in turns."""
    del events
    devices = int(options["devices"])
    fit_garbage_collection()
    partition = _partition()
    before_mb, cpu_s = _settled_mb(), 0.0
    for chunk in _chunks(devices, int(options["each"])):
        started_s = time.process_time()
        partition.commit(partition.apply(chunk))
        cpu_s += time.process_time() - started_s
    chunk.clear()
    whole_mb = rss_mb(os.getpid())
    held_mb = _settled_mb() - before_mb
    return {
        "cpu_s": cpu_s,
        "rss_mb": whole_mb,
        "bytes_per_device": held_mb * 1e6 / devices,
        "state_bytes_per_device": partition.holds.state_bytes / devices,
        "open": partition.holds.open_sessions,
    }


def restored(events: int, options: Mapping[str, float]) -> dict[str, float]:
    """A new owner takes over what such a partition has written: CPU seconds, from entries in memory."""
    del events
    fit_garbage_collection()
    partition, log = _partition(), dict[bytes, bytes]()
    for chunk in _chunks(int(options["devices"]), int(options["each"])):
        effects = partition.apply(chunk)
        partition.commit(effects)
        log.update((key, value) for key, value in effects.states if value is not None)
    held_before = partition.holds
    del partition, effects
    chunk.clear()
    partition = _partition()
    started_s = time.process_time()
    partition.restore(log)
    cpu_s = time.process_time() - started_s
    assert partition.holds == held_before
    return {"cpu_s": cpu_s, "rss_mb": rss_mb(os.getpid()), "devices_per_core_s": len(partition) / cpu_s}


def _partition() -> Partition:
    core = compiled.core(os.environ.get("PIPELINE_CORE", compiled.AUTO))
    return partitions_by(core)(0, Policies(), edge=_EDGE)


def _settled_mb() -> float:
    """What is held, without the freed memory that the allocator keeps: 350 MB in one run, 615 in the next."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return rss_mb(os.getpid())


def _chunks(devices: int, each: int) -> Iterator[list[SourceRecord]]:
    offset = 0
    for turn in range(each):
        rng, events = Random(1), Random(2 + turn)
        for start in range(0, devices, _CHUNK):
            chunk = []
            for number in range(start, min(start + _CHUNK, devices)):
                now_ms = START_MS + offset * 1_000 // EVENTS_PER_S
                device_id = str(UUID(int=rng.getrandbits(128), version=4))
                key, value = one_event(device_id, number, now_ms, turn + 1, events)
                chunk.append(SourceRecord(offset, now_ms + 20, key, value))
                offset += 1
            yield chunk
