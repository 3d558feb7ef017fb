"""The pure parts, measured in a process of their own each: decoding, and the step of a partition."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Mapping
from functools import partial
from types import ModuleType
from typing import Any

from aiokafka import codec

from pipeline import compiled
from pipeline.domain.policy import Policies
from pipeline.domain.privacy import Privacy, Samplings
from pipeline.formats.edge import Edge
from pipeline.formats.native.events import arrivals_of
from pipeline.roles.metrics import Metrics
from pipeline.runtime import fit_garbage_collection, keep_freed_memory
from pipeline.state.compiled_partition import partitions_by
from pipeline.state.partition import Partition
from pipeline.state.records import SourceRecord
from pipeline.streaming.apps import limits_of
from tests.bench.corpus import Fetched, opening, records

try:
    from pipeline.roles.sink.batch import Bounds, Source
    from pipeline.roles.sink.sink import Sink
except ModuleNotFoundError:
    # As an older tree has it.
    from pipeline.roles.batch import Bounds, Source  # type: ignore[import-not-found, no-redef]

    from pipeline.roles.sink import Sink  # type: ignore[attr-defined, no-redef]

Figures = dict[str, float]

_EDGE = Edge(Privacy(), Samplings())
"""As where nothing is set."""

_COMPRESSORS = {
    "lz4": codec.lz4_encode,
    "snappy": codec.snappy_encode,
    "zstd": partial(codec.zstd_encode, level=3),
    "zstd_1": partial(codec.zstd_encode, level=1),
}


def core() -> ModuleType | None:
    """Which core is measured is a setting, as of workers."""
    return compiled.core(os.environ.get("PIPELINE_CORE", compiled.AUTO))


def decode(events: int, options: Mapping[str, float]) -> Figures:
    """Records to events; CPU seconds."""
    corpus = _corpus(events, options)
    cleaner = _EDGE.cleaner_of(None)
    started_s = time.process_time()
    for record in corpus:
        arrivals_of(record.key, (record.offset, record.timestamp, record.value, None), cleaner)
    return {"cpu_s": time.process_time() - started_s}


def step(events: int, options: Mapping[str, float]) -> Figures:
    """Chunks of records to states and rows, decoding included; nothing is sent anywhere. With `opened`, of devices that
    have a session already."""
    opened = opening(int(options["devices"])) if options.get("opened") else []
    corpus = _corpus(events, options, first=len(opened))
    limits = limits_of("sessionizer")
    record_bytes = len(corpus[0].key or b"") + len(corpus[0].value or b"")
    per_chunk = min(limits.max_chunk, limits.max_chunk_bytes // record_bytes)
    partition = partitions_by(core())(0, Policies(), edge=_EDGE)
    for at in range(0, len(opened), per_chunk):
        partition.commit(partition.apply(opened[at : at + per_chunk]))
    before_mb = rss_mb()
    state_bytes = row_count = by_core = 0
    started_s = time.process_time()
    for at in range(0, len(corpus), per_chunk):
        effects = partition.apply(corpus[at : at + per_chunk])
        while True:
            partition.commit(effects)
            state_bytes += sum(len(value or b"") for _, value in effects.states)
            row_count += len(effects.rows)
            by_core += effects.compiled
            if not effects.rest:
                break
            effects = partition.go_on(effects)
    cpu_s = time.process_time() - started_s
    return {
        "cpu_s": cpu_s,
        "rss_mb": rss_mb(),
        "state_mb": rss_mb() - before_mb,
        "changelog_bytes_per_event": state_bytes / events,
        "rows_per_event": row_count / events,
        "share_of_core": by_core / len(corpus),
    }


def rows(events: int, options: Mapping[str, float]) -> Figures:
    """Records to rows of events and of the ledger, decoding included; what the sink does before it inserts."""
    corpus = [Fetched(*record[:4]) for record in _corpus(events, options)]
    sink = Sink(_nothing, _nothing, Metrics(), bounds=Bounds(), edge=_EDGE)
    per_chunk = max(1, 50_000 // int(options["envelope"]))
    size = 0
    started_s = time.process_time()
    for at in range(0, len(corpus), per_chunk):
        for piece in sink.event_pieces(Source("sdk-events", 0), corpus[at : at + per_chunk]):
            size += len(piece.rows)
    return {"cpu_s": time.process_time() - started_s, "bytes_per_row": size / events}


async def _nothing(*_: object, **__: object) -> Any:
    raise AssertionError("nothing is stored")


def compression(events: int, options: Mapping[str, float]) -> Figures:
    """What a worker writes, states and rows, through each compressor that aiokafka has; MB/s and share that is left."""
    corpus = _corpus(events, options)
    partition = Partition(0, Policies())
    written: dict[str, list[bytes]] = {"states": [], "rows": []}
    for at in range(0, len(corpus), 20_000):
        effects = partition.apply(corpus[at : at + 20_000])
        partition.commit(effects)
        written["states"] += [key + (value or b"") for key, value in effects.states]
        written["rows"] += [key + value for key, value in effects.rows]
    figures: Figures = {}
    started_s = time.process_time()
    for name, parts in written.items():
        blob = b"".join(parts)
        batches = [blob[at : at + 900_000] for at in range(0, len(blob), 900_000)]
        for kind, encode in _COMPRESSORS.items():
            before_s = time.process_time()
            left = sum(len(encode(batch)) for batch in batches)
            figures[f"{name}_{kind}_mb_s"] = len(blob) / 1e6 / (time.process_time() - before_s)
            figures[f"{name}_{kind}_left"] = left / len(blob)
    return {"cpu_s": time.process_time() - started_s, **figures}


def _corpus(events: int, options: Mapping[str, float], first: int = 0) -> list[SourceRecord]:
    # As a worker does.
    fit_garbage_collection()
    keep_freed_memory()
    return records(
        events,
        envelope=int(options["envelope"]),
        devices=int(options["devices"]),
        late=options.get("late", 0.0),
        duplicates=options.get("duplicates", 0.0),
        first=first,
    )


def rss_mb() -> float:
    """The most memory that this process has had, in MB of 10^6 bytes."""
    return (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1_024) / 1e6
    )
