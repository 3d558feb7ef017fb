"""Other stream processors on the topic that ours reads: what each costs for a plain gap session.

Each keeps, per device, sessions with a gap of 30 s of event time and a count of events, and writes a session to a
Kafka topic when it is over. It runs with one worker on one partition, as its documentation advises.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.bench.peers.peer import Peer, Result

__all__ = ["PEERS", "Peer", "Result"]

_NONE_DOES = (
    "no restating: an event later than the watermark is dropped, or begins a session of its own",
    "no dropping of events sent twice: they count twice",
    "no clock correction, checks of the envelope, or dead letters",
    "no start and end reasons, states, launches and exits, longest duration: the gap alone",
    "no counters by kind, users, resources: one count",
)

_FLINK = Peer(
    name="flink",
    script="flink_job.py",
    requirements=("apache-flink==2.2.1",),
    jars=("org.apache.flink:flink-sql-connector-kafka:5.0.0-2.2",),
    does_not=(
        *_NONE_DOES,
        "no rows of open sessions: a session is written once, when the watermark has passed it",
        "no exactly-once rows: sessions are sent at least once",
        "no changelog: state in the heap, written whole every 10 s",
    ),
    notes=(
        "Flink SQL, window table-valued function SESSION; hashmap state, checkpoint every 10 s, parallelism 1,",
        "object reuse; the second of two runs in one JVM; from its submission to the job's end (bounded at the end of "
        "the topic), planning included; Python client and JVM together",
    ),
)
_QUIX = Peer(
    name="quix",
    script="quix_job.py",
    requirements=("quixstreams==3.28.1",),
    does_not=(
        *_NONE_DOES,
        "no end of a silent device: a session is written when the same device's later events close it",
        "no exactly-once rows: sessions are sent at least once",
    ),
    notes=(
        "session_window of Quix Streams; RocksDB and changelog; ended by Application.stop at the last event",
    ),
    most_events=1_000_000,
)
_QUIX_APPLY = Peer(
    name="quix_apply",
    script="quix_apply_job.py",
    requirements=_QUIX.requirements,
    does_not=_QUIX.does_not,
    most_events=1_000_000,
    notes=(
        "a stateful function of Quix Streams, sessions by hand: faster than its own window; else as quix",
    ),
)
_BYTEWAX = Peer(
    name="bytewax",
    script="bytewax_job.py",
    requirements=("bytewax[kafka]==0.21.1", "orjson==3.11.4"),
    does_not=(
        *_NONE_DOES,
        "no exactly-once rows: sessions are sent at least once",
        "no changelog: snapshots to a local SQLite file every 10 s, which moves to no other machine by itself",
        "no watermark across devices: each key has its own, moved on by the wall clock",
    ),
    notes=(
        "count_window with SessionWindower; recovery store, snapshot every 10 s; ends at the end of the topic",
    ),
)
_FAUST = Peer(
    name="faust",
    script="faust_job.py",
    requirements=("faust-streaming==0.15.3", "orjson==3.11.4"),
    does_not=(
        *_NONE_DOES,
        "no end of a silent device: a session is written when the same device's next one begins",
        "no exactly-once rows, and an event whose handling failed is acknowledged all the same",
    ),
    notes=(
        "an agent with one table update an event; memory store and changelog; ends when the last is flushed",
    ),
    most_events=50_000,
    slowest_events_per_s=200.0,
)

_KAFKA_STREAMS = Peer(
    name="kafka_streams",
    script="kafka_streams_job.py",
    requirements=(),
    pom="kafka_streams.pom.xml",
    does_not=(
        *_NONE_DOES,
        "no rows of open sessions: a session is written once, when the stream's time has passed it",
        "no end of the last sessions: nothing moves the stream's time on once records stay away",
        "no exactly-once rows: sessions are sent at least once",
    ),
    notes=(
        "SessionWindows with a count, emitted when a window closes; RocksDB and changelog, one thread, commit every "
        "10 s; the second of two runs in one JVM; from its start to when it is closed, behind the last event",
    ),
)

PEERS: Mapping[str, Peer] = {
    peer.name: peer for peer in (_FLINK, _KAFKA_STREAMS, _QUIX, _QUIX_APPLY, _BYTEWAX, _FAUST)
}
