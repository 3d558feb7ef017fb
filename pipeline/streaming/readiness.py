"""What keeps an app from its work: its consumer group, its state, its topics, Kafka itself."""

from __future__ import annotations

from pipeline.streaming.faust_app import BatchApp

_PATIENCE_S = 5.0
"""Kafka is taken for away once so many seconds of heartbeats went unanswered; single ones are lost now and then."""


def kafka_fault(app: BatchApp) -> str:
    """Why Kafka does not serve the app; empty if it does."""
    if not app.started:
        return f"{app.conf.id} has not joined its consumer group yet"
    silent_s = app.consumer.silent_s
    patience_s = max(_PATIENCE_S, 2 * app.conf.broker_heartbeat_interval)
    if silent_s is not None and silent_s > patience_s:
        said = f"Kafka at {app.connection.bootstrap} has not answered a heartbeat for {silent_s:.0f} s"
        return f"{said}: {cause}" if (cause := app.consumer.silence.cause) else said
    return ""


def partitions_fault(app: BatchApp) -> str:
    """Why the app does not read all its partitions; empty if it does, or has none."""
    if not app.started:
        return ""
    assignment = app.consumer.assignment_in_force
    if assignment is None or not assignment.open:
        return f"{app.conf.id} has no partitions yet: its consumer group is rebalancing"
    if numbers := assignment.waiting:
        what = "state of devices" if app.state_tables else "position"
        return f"{app.conf.id} is getting the {what} of {len(numbers)} partitions before it reads them"
    return ""


def topics_fault(app: BatchApp) -> str:
    """What is wrong with topics that it reads or writes; empty if nothing is."""
    if not app.started:
        return ""
    return app.consumer.stopping_for or "; ".join(app.consumer.watch.faults.values())
