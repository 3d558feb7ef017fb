"""Filters as SQL: a condition over the columns of the view `sessions`. Whatever a user typed travels as a parameter."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.query import stored_rows
from pipeline.query.dimensions import (
    CRASH_GROUP,
    FIRST,
    OF_EVENTS,
    ORDER_OPERATORS,
    STITCHED_LENGTH,
    USER,
    Dimension,
    dimension,
)
from pipeline.query.filters import of_events, over_devices, sequence
from pipeline.query.filters.bounds import RangeBounds
from pipeline.query.filters.check import checked
from pipeline.query.filters.reach import OVER_DEVICES, all_of, is_of_an_id
from pipeline.query.filters.tree import (
    All,
    AnyOf,
    CountEvents,
    Duration,
    Filter,
    HasEvent,
    NamedDay,
    Not,
    Scalar,
    Test,
    Value,
    parts_of,
)
from pipeline.query.statement import Statement
from pipeline.query.time_zone import zone
from pipeline.query.versions import VERSION_PATTERNS, version_sql

_NUMBERS_BY_THEMSELVES = {"http.response.status_code": "status_code"}
"""Attributes that `z_stored_events` has in columns too, '' where there is none: a tenth of the time to read."""
_COMPARISONS = {"eq": "=", "not": "!=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


@dataclass(frozen=True, slots=True)
class FilterScope:
    """What the statement around a condition is limited to anyway: spares reading more.

    It decides nothing, but for an event that came beyond the horizon, of which no session knows: with both ends such a
    one is looked for on the days of the range, and on those up to the last event that the session counts.
    """

    app_id: str | None = None
    start_ms: int | None = None
    """Only sessions that start at or after."""
    end_ms: int | None = None
    """Only sessions that start before."""
    newest_ms: int | None = None
    """When the newest session of all started, if somebody knows: what ends after it need not be bounded so strictly."""

    @property
    def is_open(self) -> bool:
        """No session that is known of starts at the end or after it."""
        return self.end_ms is not None and self.newest_ms is not None and self.newest_ms < self.end_ms


def where(filter: Filter, prefix: str = "f", scope: FilterScope | None = None) -> Statement:
    """The condition; its parameters are named `prefix` and a number. Raises FilterError.

    Nothing in it is ever NULL, so that its opposite is its negation.
    """
    compiler = _Compiler(prefix, scope or FilterScope())
    sql = compiler.filter(checked(filter))
    return Statement(sql, compiler.parameters)


def chains_of(
    steps: HasEvent,
    chains: Mapping[str, Callable[[tuple[HasEvent, ...]], Sequence[HasEvent]]],
    of: Filter,
    scope: FilterScope,
    prefix: str = "c",
) -> Statement:
    """A SELECT of the sessions with an event that is one of some steps, read once: `app_id`, `device_id`, `started_at`,
    and by name whether the steps that a chain makes of these come in their order. `of`: the filter around it, which
    says where there is no need to look. Raises FilterError."""
    compiler = _Compiler(prefix, scope)
    sql = compiler.chains(checked(steps), chains, checked(of))
    return Statement(sql, compiler.parameters)


def step_conditions(
    steps: Sequence[HasEvent | CountEvents], prefix: str
) -> tuple[list[str], dict[str, object]]:
    """For each of the checked steps the condition that an event passes it, and the parameters of all."""
    compiler = _Compiler(prefix, FilterScope())
    return [compiler.event(step, {}) for step in steps], compiler.parameters


class _Compiler:
    """Writes SQL for canonical filters and collects the parameters."""

    def __init__(self, prefix: str, scope: FilterScope) -> None:
        self.parameters: dict[str, object] = {}
        self._prefix = prefix
        self._scope = scope
        self._limits: list[str] = []

    def filter(self, filter: Filter) -> str:
        match filter:
            case All(filters):
                return self._all(filters)
            case AnyOf(filters):
                return f"({' OR '.join(self.filter(each) for each in filters)})" if filters else "false"
            case Not(inner):
                return f"(NOT {self.filter(inner)})"
            case HasEvent():
                return self._events(filter.steps())
            case CountEvents():
                return self._counted(filter)
            case Test():
                return f"({self._session_test(filter)})"

    def _all(self, filters: tuple[Filter, ...]) -> str:
        points_out = {each for each in filters if is_of_an_id(each)}
        first = [self.filter(each) for each in filters if each in points_out]
        # What fails one of these fails the whole, whatever the others say of it: they need not look there.
        self._limits += first
        rest = [self.filter(each) for each in filters if each not in points_out]
        del self._limits[len(self._limits) - len(first) :]
        return f"({' AND '.join(first + rest)})" if filters else "true"

    def _session_test(self, test: Test) -> str:
        found = dimension(test.dimension)
        assert found is not None, "a checked filter has no unknown dimension"
        if found.name in OVER_DEVICES:
            return self._over_device(test)
        if found.name in OF_EVENTS:
            return self._of_events(found, test)
        if found.name == CRASH_GROUP:
            return self._in_crash_group(test)
        if found.key is not None:
            return self._keyed(found.sql, test, found.key)
        if found.type == "list":
            return self._list(found, test)
        return self._plain(found, test)

    def _plain(self, found: Dimension, test: Test) -> str:
        sql, operator, value = found.sql, test.operator, test.value
        if found.type == "boolean":
            return f"({sql}) {_COMPARISONS[operator]} {self._add(value, 'Bool')}"
        if found.type == "time":
            return self._ordered(sql, test, self._moment)
        if found.type == "number":
            return self._ordered(sql, test, self._number)
        if found.type == "id":
            return self._ordered(sql, test, lambda id: self._add(id, "UUID"))
        if operator == "exists":
            return f"{sql} != ''"
        if found.is_version and operator in ORDER_OPERATORS:
            return self._version(sql, test)
        return self._caseless(sql, test) if found.is_caseless else self._text(sql, test)

    def _version(self, sql: str, test: Test) -> str:
        """The versions there are in the range are few, and ordered once; a session without one passes nothing."""
        patterns = [self._add(each, "String") for each in VERSION_PATTERNS]
        scope = self._bounds()
        passes = self._ordered(
            version_sql("version", *patterns),
            test,
            lambda version: version_sql(self._add(version, "String"), *patterns),
        )
        return (
            f"{sql} IN (SELECT version FROM (SELECT DISTINCT toString({sql}) AS version FROM session_rows"
            f" WHERE {scope.app} AND {scope.started}) WHERE version != '' AND {passes})"
        )

    def _caseless(self, sql: str, test: Test) -> str:
        """Letters of ASCII alike in either case."""
        if test.operator == "matches":
            return f"match({sql}, {self._add(f'(?i){test.value}', 'String')})"
        return self._text(f"lower({sql})", replace(test, value=_lowered(test.value)))

    def _moment(self, ms: Scalar) -> str:
        if isinstance(ms, Duration):
            return f"(now64(3, 'UTC') - toIntervalMillisecond({self._add(-ms, 'Int64')}))"
        if isinstance(ms, NamedDay):
            # The zone of whoever asks; a statement is made when it is asked.
            name = self._add(zone().key, "String")
            return f"toDateTime64(addDays(toDate(now(), {name}), {int(ms)}), 3, {name})"
        return self._time(int(ms))

    def _ordered(self, sql: str, test: Test, placed: Callable[[Scalar], str]) -> str:
        value = test.value
        if isinstance(value, tuple):
            if test.operator == "between":
                return f"{sql} BETWEEN {placed(value[0])} AND {placed(value[1])}"
            return " OR ".join(f"{sql} = {placed(each)}" for each in value)
        return f"{sql} {_COMPARISONS[test.operator]} {placed(value)}"

    def _text(self, sql: str, test: Test) -> str:
        operator, value = test.operator, test.value
        if operator == "in":
            return f"{sql} IN {self._texts(value)}"
        placed = self._add(value, "String")
        if operator == "contains":
            return f"position({sql}, {placed}) > 0"
        return (
            f"match({sql}, {placed})" if operator == "matches" else f"{sql} {_COMPARISONS[operator]} {placed}"
        )

    def _list(self, found: Dimension, test: Test) -> str:
        sql = found.sql
        if test.operator == "exists" and test.value is True:
            return f"notEmpty({sql})"
        if found.name == USER and (test.operator in ("contains", "matches") or "" in all_of(test)):
            # A session without a user has the empty id, as a text has that is not there. (Else an index can tell.)
            sql = f"if(empty({sql}), [''], {sql})"
        if test.operator == "in":
            return f"hasAny({sql}, {self._texts(test.value)})"
        if test.operator in ("contains", "matches"):
            return f"arrayExists(item -> {self._text('item', test)}, {sql})"
        has = f"has({sql}, {self._add(test.value, 'String')})"
        return f"NOT {has}" if test.operator == "not" else has

    def _keyed(self, column: str, test: Test, key: str, number: str = "") -> str:
        """A value under a key that may be absent: then only `not` passes. `number`: a column that has it by itself."""
        if test.operator == "not":
            return f"NOT ({self._keyed(column, Test(test.dimension, 'eq', test.value), key, number)})"
        values = test.value if isinstance(test.value, tuple) else (test.value,)
        is_number = test.operator != "exists" and not isinstance(values[0], str)
        if number and is_number:
            return self._as_number(number, test)
        placed_key = self._add(key, "String")
        sql, has_key = f"{column}[{placed_key}]", f"mapContains({column}, {placed_key})"
        if test.operator == "exists":
            return has_key
        return self._as_number(sql, test) if is_number else f"{has_key} AND {self._text(sql, test)}"

    def _as_number(self, sql: str, test: Test) -> str:
        """A text compared as a number. What is none, as '' where a key is absent, is NULL and passes no comparison."""
        compared = self._ordered(
            f"toFloat64OrNull({sql})", test, lambda number: self._add(float(number), "Float64")
        )
        return f"ifNull({compared}, false)"

    def _over_device(self, test: Test) -> str:
        """What takes the other sessions of the device to tell."""
        limit, scope = self._limit(), self._bounds()
        if test.dimension == FIRST:
            first = over_devices.first(scope, limit)
            return first if test.value is (test.operator == "eq") else f"NOT {first}"
        if test.dimension == STITCHED_LENGTH:
            return over_devices.stitched(scope, limit, self._ordered("count()", test, self._number))
        if test.operator == "not":
            return f"NOT {self._over_device(replace(test, operator='eq'))}"
        most = None if test.operator in ("gt", "gte") else max(float(each) for each in all_of(test))
        passes = self._ordered(over_devices.LATER, test, self._number)
        return over_devices.returned(scope, limit, passes, self._add(zone().key, "String"), most)

    def _in_crash_group(self, test: Test) -> str:
        """Whether an event of the group is in the session, found as those of `_events`."""
        if test.operator == "not":
            return f"NOT {self._in_crash_group(Test(test.dimension, 'eq', test.value))}"
        group = "true" if test.operator == "exists" else self._text("crash_group", test)
        limit, scope = self._limit(), self._bounds()
        crashes = stored_rows.crashes("app_id, device_id, time", f"{{of}} AND {group}")
        return of_events.sessions(scope, limit, crashes)

    def _events(self, steps: tuple[HasEvent, ...]) -> str:
        # The view that the order of steps takes does not have the columns of single attributes.
        passes = [self.event(step, _NUMBERS_BY_THEMSELVES if len(steps) == 1 else {}) for step in steps]
        limit, scope = self._limit(), self._bounds()
        if len(steps) == 1:
            return of_events.sessions(
                scope,
                limit,
                stored_rows.events("app_id, device_id, time", f"{{of}} AND {passes[0]}"),
            )
        return of_events.sessions(scope, limit, of_events.masked(passes), sequence.in_order(steps))

    def chains(
        self,
        of: Filter,
        chains: Mapping[str, Callable[[tuple[HasEvent, ...]], Sequence[HasEvent]]],
        around: Filter,
    ) -> str:
        assert isinstance(of, HasEvent), "what is checked stays what it is"
        steps = of.steps()
        self._limits = [self.filter(each) for each in parts_of(around) if is_of_an_id(each)]
        columns = {name: sequence.in_order(chain(steps)) for name, chain in chains.items()}
        events = of_events.masked([self.event(step, {}) for step in steps])
        return of_events.told_by(self._bounds(), self._limit(), events, columns)

    def _counted(self, event: CountEvents) -> str:
        number = event.number
        if event.operator == "gte" and number == 0:
            return "true"
        passes, limit, scope = self.event(event, _NUMBERS_BY_THEMSELVES), self._limit(), self._bounds()
        events = stored_rows.events("app_id, device_id, time", f"{{of}} AND {passes}")
        if event.operator == "gte":
            return of_events.sessions(scope, limit, events, sequence.at_least(number, event.within_ms))
        if event.operator == "lte" or number == 0:
            return f"NOT {of_events.sessions(scope, limit, events, f'count() > {number}')}"
        return of_events.sessions(scope, limit, events, f"count() = {number}")

    def _of_events(self, found: Dimension, test: Test) -> str:
        """What is told of a session by its events: by those of them that tell of it, and then by what they tell."""
        source, limit, scope = of_events.TELLINGS[found.name], self._limit(), self._bounds()
        told = of_events.sessions(scope, limit, source.events)

        def passing(condition: str) -> str:
            return of_events.sessions(scope, limit, source.events, condition)

        if test.operator == "exists":
            return passing(f"{source.value} != ''") if found.type == "string" else told
        if test.operator == "not":
            return f"NOT {passing(self._told(found, source.value, replace(test, operator='eq')))}"
        passes = passing(self._told(found, source.value, test))
        if found.type != "string":
            return passes
        # A session of which no event tells has the empty text.
        without = {"eq": test.value == "", "in": "" in all_of(test)}.get(test.operator, False)
        if test.operator == "matches":
            return f"({passes} OR (match('', {self._add(test.value, 'String')}) AND NOT {told}))"
        return f"({passes} OR NOT {told})" if without else passes

    def _told(self, found: Dimension, value: str, test: Test) -> str:
        if found.type == "number":
            return self._ordered(value, test, self._number)
        if found.type == "list":
            # One of a session's connections is enough; they are in lower case.
            return f"arrayExists(item -> {self._caseless('item', test)}, {value})"
        return self._text(value, test)

    def event(self, step: HasEvent | CountEvents, numbers: Mapping[str, str]) -> str:
        """That an event passes a step; `numbers` are the columns of single attributes."""
        name = f"name = {self._add(step.name, 'String')}"
        tests = [
            f"({self._keyed('attributes', test, test.dimension, numbers.get(test.dimension, ''))})"
            for test in step.tests
        ]
        return f"({' AND '.join([name, *tests])})"

    def _limit(self) -> str:
        """Which devices are worth a look; always whole devices, since sessions and events of one settle each other."""
        scope = self._bounds()
        if not self._limits:
            return scope.app
        known = [each for each in (scope.app, scope.started) if each != "true"]
        chosen = f"SELECT app_id, device_id FROM sessions WHERE {' AND '.join([*known, *self._limits])}"
        return " AND ".join([*known[: scope.app != "true"], f"(app_id, device_id) IN ({chosen})"])

    def _bounds(self) -> RangeBounds:
        scope = self._scope
        return RangeBounds(
            app="true" if scope.app_id is None else f"app_id = {self._add(scope.app_id, 'String')}",
            since="" if scope.start_ms is None else self._time(scope.start_ms),
            end="" if scope.end_ms is None else self._time(scope.end_ms),
            has_days=scope.start_ms is not None and 0 <= scope.start_ms <= stored_rows.LAST_DAY_MS,
            is_open=scope.is_open,
        )

    def _time(self, ms: int) -> str:
        return f"fromUnixTimestamp64Milli({self._add(ms, 'Int64')}, 'UTC')"

    def _number(self, value: Scalar) -> str:
        return self._add(value, "Float64" if isinstance(value, float) else "Int64")

    def _texts(self, value: object) -> str:
        assert isinstance(value, tuple), "a checked filter has several values here"
        return self._add(list(value), "Array(String)")

    def _add(self, value: object, type: str) -> str:
        name = f"{self._prefix}{len(self.parameters)}"
        self.parameters[name] = value
        return f"{{{name}:{type}}}"


def _lowered(value: Value) -> Value:
    """In small letters, those of ASCII alone, as `lower` has it in ClickHouse."""
    if isinstance(value, tuple):
        return tuple(_small(each) for each in value)
    return _small(value)


def _small(value: Scalar) -> Scalar:
    return re.sub("[A-Z]+", lambda found: found[0].lower(), value) if isinstance(value, str) else value
