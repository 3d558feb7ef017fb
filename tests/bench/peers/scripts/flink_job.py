"""Flink SQL: a SESSION window with a count, heap state, a checkpoint every 10 s, sessions to a topic.

The job runs twice in one cluster inside this process's JVM, over the whole topic each time; the second run is
the one that is measured, with a JVM that is warm.
"""

from __future__ import annotations

import socket
from pathlib import Path

from marks import GAP_S, Marks, options
from pyflink.common import Configuration
from pyflink.table import EnvironmentSettings, TableEnvironment

_SOURCE = """
CREATE TABLE events (
    device_id STRING,
    events ARRAY<ROW<`time` BIGINT>>,
    event_time AS TO_TIMESTAMP_LTZ(events[1].`time`, 3),
    WATERMARK FOR event_time AS event_time
) WITH (
    'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{bootstrap}',
    'properties.group.id' = 'flink-{output}', 'scan.startup.mode' = 'earliest-offset',
    'scan.bounded.mode' = 'latest-offset', 'format' = 'json'
)
"""
_SINK = """
CREATE TABLE {name} (device_id STRING, started TIMESTAMP(3), ended TIMESTAMP(3), `count` BIGINT)
WITH ('connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{bootstrap}', 'format' = 'json')
"""
_SESSIONS = """
INSERT INTO {name}
SELECT device_id, window_start, window_end, COUNT(*)
FROM SESSION(TABLE events PARTITION BY device_id, DESCRIPTOR(event_time), INTERVAL '{gap_s}' SECOND)
GROUP BY device_id, window_start, window_end
"""


def configuration(cache: Path, folder: Path, rest_port: int) -> Configuration:
    """What Flink's documentation advises for this job; the rest as it comes."""
    settings = {
        "pipeline.jars": ";".join(jar.resolve().as_uri() for jar in sorted(cache.glob("*.jar"))),
        "parallelism.default": "1",
        "pipeline.object-reuse": "true",
        "state.backend.type": "hashmap",
        "execution.checkpointing.interval": "10 s",
        "execution.checkpointing.dir": (folder / "checkpoints").resolve().as_uri(),
        "table.local-time-zone": "UTC",
        "rest.bind-port": str(rest_port),
        "rest.port": str(rest_port),
    }
    made = Configuration()
    for name, text in settings.items():
        made.set_string(name, text)
    return made


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> None:
    told = options()
    marks = Marks(told.folder)
    rest_port = free_port()
    # The cluster and its JIT would end with the first job if each had its own: PyFlink's local executor makes
    # one a job in the same JVM, so what was compiled stays.
    settings = EnvironmentSettings.new_instance().in_streaming_mode()
    tables = TableEnvironment.create(
        settings.with_configuration(configuration(told.cache, told.folder, rest_port)).build()
    )
    tables.execute_sql(_SOURCE.format(topic=told.topic, bootstrap=told.bootstrap, output=told.output))
    for name, topic in (("warm", told.warm_output), ("sessions", told.output)):
        tables.execute_sql(_SINK.format(name=name, topic=topic, bootstrap=told.bootstrap))
    tables.execute_sql(_SESSIONS.format(name="warm", gap_s=GAP_S)).wait()
    # Before it is submitted: once it is seen to run, it has read a good part of the topic.
    marks.say("first")
    job = tables.execute_sql(_SESSIONS.format(name="sessions", gap_s=GAP_S))
    job.wait()
    marks.say("last")


if __name__ == "__main__":
    main()
