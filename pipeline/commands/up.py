"""`up`: the whole pipeline on this machine, until a signal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.commands.local_stack import LocalStack
from pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the parts of the embedded stack listen; 0 picks a free one."""

    kafka: int
    clickhouse: int
    dashboard: int
    receive: int


def run(settings: Settings, *, data: Path, ports: Ports, receive_host: str) -> None:
    """Run the embedded stack until a signal. Raises `StackFailed`."""
    stack = LocalStack(
        settings,
        data,
        kafka_port=ports.kafka,
        clickhouse_port=ports.clickhouse,
        dashboard_port=ports.dashboard,
        receive_port=ports.receive,
        receive_host=receive_host,
    )

    def serve(started: LocalStack) -> None:
        told = filter(None, (started.addresses, started.senders, started.connections, "ready; Ctrl-C stops"))
        print("\n".join(told), flush=True)
        started.wait()

    stack.run(serve)
