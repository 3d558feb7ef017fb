"""Bringing alerts to their channels: each at least once, always under the same id, and in order.

What is to be told is stored before anybody is told. A try is stored after it was made, so a run that is killed in
between tells it again, with the same bytes and id.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.clickhouse.grants import server_version_and_clock
from pipeline.clickhouse.store import Store
from pipeline.domain.alert_messages import body
from pipeline.domain.alerts import pause_ms
from pipeline.query.alerts import records as alert_records
from pipeline.query.alerts.rules import Channel
from pipeline.query.session_range import time_text
from pipeline.roles.alerts.metrics import AlertMetrics

log = logging.getLogger(__name__)

GIVE_UP_MS = 3 * 86_400_000
"""For so long it is tried to deliver something."""
_REMEMBERED_MS = 30 * 86_400_000
_DETAIL = 500
"""Characters that are kept of what a receiver says."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came of a try to deliver."""

    is_taken: bool
    detail: str
    retry_after_ms: int = 0
    """The receiver's own wish, at most a day."""


Send = Callable[[Channel, str, bytes], Delivery]
"""Delivers a body under an id to a channel. Blocks for a bounded time, and raises nothing that a receiver can cause."""


class AlertCourier:
    """What waits for the channels of one file. Methods block, and raise Unreachable where ClickHouse is away."""

    def __init__(
        self,
        store: Store,
        channels: Mapping[str, Channel],
        send: Send,
        metrics: AlertMetrics,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        """`look` is called before each try."""
        self._store, self._channels, self._send, self._metrics = store, channels, send, metrics
        self._look = look
        self._unstored: dict[tuple[str, str, int], bytes] = {}
        """Tries that were made and are not stored yet: with them in mind nothing is told again."""

    def deliver(self) -> int:
        """Deliver what is due; how much arrived. What does not arrive is tried again later, with growing pauses, up to
        three days. Later messages of one rule and group wait for the ones before."""
        self._store_tries()
        _, now_ms = server_version_and_clock(self._store)
        statement = alert_records.waiting(now_ms - _REMEMBERED_MS)
        lines = self._store.query(statement.sql, statement.parameters).splitlines()
        waiting = [orjson.loads(line) for line in lines]
        arrived, blocked, silent = 0, set[tuple[str, str]](), set[str]()
        left = Counter[str](dict.fromkeys(self._channels, 0))
        for each in waiting:
            place = (each["stream"], each["channel"])
            outcome = "failed"
            if place not in blocked and each["channel"] not in silent and int(each["next_ms"]) <= now_ms:
                self._look()
                outcome = self._deliver_one(each, now_ms)
                if outcome == "failed":
                    # Whoever does not answer would make all others wait.
                    silent.add(each["channel"])
            if outcome == "failed":
                blocked.add(place)
                left[each["channel"]] += 1
            arrived += outcome == "delivered"
        for channel, count in left.items():
            self._metrics.waiting.labels(channel).set(count)
        return arrived

    def _deliver_one(self, each: Mapping[str, Any], now_ms: int) -> str:
        attempt, name = int(each["attempts"]) + 1, each["channel"]
        channel = self._channels.get(name)
        if channel is None:
            answer, outcome = Delivery(False, "the rules file has no such channel any more"), "given up"
        else:
            message = orjson.loads(each["message"])
            answer = self._send(channel, each["message_id"], body(channel.kind, message))
            outcome = "delivered" if answer.is_taken else "failed"
            if outcome == "failed" and int(each["first_ms"]) and now_ms - int(each["first_ms"]) > GIVE_UP_MS:
                outcome = "given up"
        if outcome != "delivered":
            level = logging.ERROR if outcome == "given up" else logging.WARNING
            log.log(
                level,
                "alert %s, %s, try %d: %s: %s",
                each["message_id"],
                name,
                attempt,
                outcome,
                answer.detail,
            )
        self._metrics.deliveries.labels(name, outcome).inc()
        next_ms = now_ms + max(pause_ms(attempt), answer.retry_after_ms)
        row = {
            "message_id": each["message_id"], "channel": name, "attempt": attempt, "tried_at": time_text(now_ms),
            "outcome": outcome, "detail": answer.detail[:_DETAIL], "next_at": time_text(next_ms),
        }  # fmt: skip
        self._unstored[each["message_id"], name, attempt] = orjson.dumps(row)
        self._store_tries()
        return outcome

    def _store_tries(self) -> None:
        for key in list(self._unstored):
            token = ":".join(map(str, key))
            self._store.insert(alert_records.DELIVERIES, self._unstored[key], token=token)
            del self._unstored[key]
