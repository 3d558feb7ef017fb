"""`sdk-events` is deleted and made anew under a running pipeline, and the runbook is followed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from pipeline import topics
from pipeline.kafka.admin import end_offsets
from pipeline.query.operations import NEXT_OFFSET_SQL
from tests.support.stack import Stack, delete_and_create

_ENDS_WITHIN_S = 60.0
_SAYS = "TopicMadeAnew: sdk-events was made anew: its id was "
# A sessionizer that looks while there is none says that.
_GONE = "PartitionMismatch: "


def make_anew(stack: Stack, partitions: int) -> tuple[int, Mapping[int, int]]:
    """Nothing is on its way when it begins. Every worker that reads the topic stops by name, and so does the next one.

    Returns with no worker running: the base from which offsets count now, and where the old partitions ended.
    """
    ends = asyncio.run(end_offsets(stack.connection, [topics.SDK_EVENTS]))
    asyncio.run(delete_and_create(stack, topics.SDK_EVENTS, partitions))
    readers = [name for name in stack.workers if not name.startswith("router")]
    for name in readers:
        _assert_ends(stack, name, _SAYS, _GONE)
    stack.stop()
    for role in ("sessionizer", "sink"):
        _assert_ends(stack, stack.begin_worker(role), _SAYS)
    base = int(stack.value(NEXT_OFFSET_SQL))
    stack.settings["PIPELINE_OFFSET_BASE"] = str(base)
    stack.run("migrate")
    stack.start_workers("sink")
    deadline_s = time.monotonic() + _ENDS_WITHIN_S
    while (done := stack.command("rebuild", "--states")).returncode:
        assert "the sink has yet to store" in done.stderr and time.monotonic() < deadline_s, done.stderr
    stack.stop()
    return base, {tp.partition: end for tp, end in ends.items()}


def _assert_ends(stack: Stack, name: str, *says: str) -> None:
    """A worker ends by itself, with one of these in its log."""
    assert stack.workers[name].wait(_ENDS_WITHIN_S) == 1, stack.log_tails()
    stack.take(name)
    log = stack.log_file(name).read_text()
    assert any(f" stopped: {text}" in log for text in says), log
