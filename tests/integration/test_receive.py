"""`receive` as a process before Apache Kafka: killed, stopped, its broker frozen. Nothing answered with 2xx is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.embedded.child import Child, free_port
from pipeline.kafka.admin import ensure_topics
from pipeline.kafka.connection import KafkaConnection
from pipeline.roles import topology
from tests.support.received import is_ready, kept, readiness
from tests.support.restless import HttpProducer
from tests.support.services import Broker
from tests.support.stack import command_line, environment

PARTITIONS = 4


def child(folder: Path, broker: Broker, port: int) -> Child:
    return Child(
        "receive",
        command_line("receive", "--port", str(port)),
        log_file=folder / "receive.log",
        cwd=folder,
        with_variables=environment(
            {"PIPELINE_KAFKA_BOOTSTRAP": broker.bootstrap, "PIPELINE_RECEIVE_DRAIN": "500ms"}
        ),
    )


def test_nothing_that_was_answered_is_lost(tmp_path: Path, fresh_broker: Callable[[str], Broker]) -> None:
    broker, port = fresh_broker("kafka"), free_port()
    plan = topology.plan(PARTITIONS, -1)
    asyncio.run(ensure_topics(KafkaConnection(broker.bootstrap), {"native-events": plan["native-events"]}))
    receive = child(tmp_path, broker, port)
    receive.start(lambda: is_ready(port), timeout_s=30)
    try:
        with HttpProducer(port) as http:
            http.wait_for(300)
            assert receive.kill() == -signal.SIGKILL
            receive.start(lambda: is_ready(port), timeout_s=30)
            http.wait_for(300)
            assert set(http.statuses) == {0, 200}

            # Its broker is frozen: those who wait are told within seconds, all others at once.
            assert broker.pid is not None
            os.kill(broker.pid, signal.SIGSTOP)
            http.wait_for_status(503, 8)
            assert not is_ready(port)
            http.slowest_s = 0.0
            http.wait_for_status(503, 40)
            assert http.slowest_s < 1.0
            os.kill(broker.pid, signal.SIGCONT)
            http.wait_for(300)
            assert set(http.statuses) == {0, 200, 503}

            began_s = time.monotonic()
            assert receive.pid is not None
            os.kill(receive.pid, signal.SIGTERM)
            # It says so first, and takes what still comes.
            http.wait_for(20)
            assert readiness(port) == 503
            assert receive.wait(30) == 0
            assert time.monotonic() - began_s < 8
    finally:
        if broker.pid is not None:
            os.kill(broker.pid, signal.SIGCONT)
        receive.kill()
    ids = asyncio.run(asyncio.wait_for(kept(broker.bootstrap), 60))
    assert http.acknowledged - set(ids) == set() and len(http.acknowledged) >= 900
    assert len(ids) - len(set(ids)) == 0, "no id was sent twice, and the producer is idempotent"
    log = (tmp_path / "receive.log").read_text()
    assert "Traceback" not in log, log
