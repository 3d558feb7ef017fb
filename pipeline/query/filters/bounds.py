"""Which rows a filter has to read, where the sessions that it chooses from are those of a range.

What decides is always the row itself: these conditions let through all that can matter, and the keys of the tables can
be asked for them.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.query import stored_rows


@dataclass(frozen=True, slots=True)
class RangeBounds:
    """SQL texts of a range; each method gives a condition."""

    app: str
    """The condition that a row is of the app; `true` for all apps."""
    since: str
    """Sessions that start at or after; empty where there is no such bound."""
    end: str
    """Sessions that start before; empty where there is no such bound."""
    has_days: bool = False
    """A Date can hold the day on which it begins."""
    is_open: bool = False
    """No session that is known of starts at the end or after it: then events are not bounded by it, which takes a third
    less to plan. One that comes meanwhile is told apart as any other."""

    @property
    def started(self) -> str:
        """A session starts in the range."""
        some = [f"started_at >= {self.since}"] if self.since else []
        if self.end:
            some.append(f"started_at < {self.end}")
        return " AND ".join(some) or "true"

    def events(self) -> str:
        """An event can be of a session that starts in the range. Its stamp by the device may be of any day."""
        if not self.since:
            return "true"
        if not self.end or self.is_open:
            return (
                f"time >= {self.since} AND (toDate32(raw_time) >= toDate32({self.since})"
                f" OR {self._elsewhere(f'day >= toDate32({self.since})')})"
            )
        days = f"BETWEEN toDate32({self.since}) AND {self._last_day}"
        return (
            f"time >= {self.since} AND {self.of_devices}"
            # Not those of later sessions, which the device may have stamped with any day.
            f" AND (toDate32(time) {days} AND (toDate32(raw_time) {days} OR {self._elsewhere(f'day {days}')})"
            " OR (app_id, toDate32(raw_time), device_id, toDate32(time)) IN"
            f" (SELECT app_id, raw_day, device_id, day FROM ({self._days_after})))"
        )

    def sessions_of_events(self, columns: str, limit: str) -> str:
        """A SELECT of the sessions that such an event can be in; `limit` is a further condition."""
        if not self.since:
            return stored_rows.sessions(columns, limit)
        if not self.end or self.is_open:
            days = stored_rows.since_day(f"toDate({self.since})") if self.has_days else ""
            return stored_rows.sessions(columns, f"{limit} AND started_at >= {self.since}", days)
        return stored_rows.sessions(
            columns,
            f"{limit} AND started_at >= {self.since} AND (toDate(started_at) <= toDate({self._last_day})"
            " OR (app_id, toDate(started_at), device_id) IN"
            f" (SELECT app_id, toDate(day), device_id FROM ({self._days_after})))",
        )

    def stitched(self) -> str:
        """A session can be stitched together with one that starts in the range."""
        if not self.since or not self.end:
            return "true"
        return (
            "(app_id, toDate(started_at), device_id) IN (SELECT app_id, day, device_id FROM z_session_places"
            f" WHERE id IN (SELECT stitched_session_id FROM session_rows WHERE {self.app} AND {self.started}))"
        )

    @property
    def _last_day(self) -> str:
        return f"toDate32({self.end} - INTERVAL 1 MILLISECOND)"

    @property
    def of_devices(self) -> str:
        """Events of other devices lie in no session of the range. A session's outdated rows may name one too many."""
        # One column is compared in half the time of two.
        columns = "(app_id, device_id)" if self.app == "true" else "device_id"
        return f"{columns} IN (SELECT {columns.strip('()')} FROM session_rows WHERE {self.app} AND {self.started})"

    def _elsewhere(self, days: str) -> str:
        return (
            "(app_id, toDate32(raw_time), device_id) IN (SELECT app_id, raw_day, device_id FROM z_elsewhere_days"
            f" WHERE {self.app} AND by = 'time' AND {days})"
        )

    @property
    def _days_after(self) -> str:
        """The days after the range on which sessions still go on that start in it, by device."""
        longer = f"session_rows WHERE {self.app} AND {self.started} AND last_event_at >= {self.end}"
        return (
            "SELECT d.app_id AS app_id, d.device_id AS device_id, d.day AS day, d.raw_day AS raw_day"
            " FROM z_device_days AS d"
            f" INNER JOIN (SELECT app_id, device_id, toDate32(max(last_event_at)) AS last_day FROM {longer}"
            " GROUP BY app_id, device_id) AS l ON d.app_id = l.app_id AND d.device_id = l.device_id"
            f" WHERE (d.app_id, d.device_id) IN (SELECT app_id, device_id FROM {longer})"
            f" AND d.day > {self._last_day} AND d.day <= l.last_day"
        )
