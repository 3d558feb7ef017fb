"""The file of alert rules: what may stand in it, and what is wrong with one. TOML, of version 1 (deploy/ALERTS.md).
Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal, TypeAlias, cast, get_args

from pipeline.domain.alerts import Bound, Judgement
from pipeline.errors import Terminal
from pipeline.query.alerts.readings import ALERT_METRICS
from pipeline.query.dimensions import split, split_names
from pipeline.query.filters.check import checked
from pipeline.query.filters.messages import unknown
from pipeline.query.filters.text_form import parse
from pipeline.query.filters.times import duration_of
from pipeline.query.filters.tree import All, AnyOf, Duration, Filter, FilterError, Not, Test

VERSION = 1
DAY_MS = 86_400_000
LONGEST_WINDOW_MS = 14 * DAY_MS
MAX_RULES = 1_000
ChannelKind: TypeAlias = Literal["webhook", "slack", "alertmanager", "apprise"]
CHANNEL_KINDS: tuple[ChannelKind, ...] = get_args(ChannelKind)
_NAME_LENGTH = 100
_CHANNEL_KEYS = {"kind", "url", "url_file", "secret_file"}
_SEEN_KEYS = {"app", "metric", "filter", "cohort", "by", "window", "every", "delay"}
_JUDGED_KEYS = {"warning", "error", "compare", "min_sessions", "min_users", "times", "no_data"}
_RULE_KEYS = {"name", "channels", "summary"} | _SEEN_KEYS | _JUDGED_KEYS


class InvalidAlerts(Terminal):
    """The file of alert rules is not one; the message says where and what is allowed."""


@dataclass(frozen=True, slots=True)
class Channel:
    """Where alerts are told."""

    name: str
    kind: ChannelKind
    url: str = ""
    url_file: str = ""
    """A file that holds the URL, since most of them are secrets; one of the two is given."""
    secret_file: str = ""
    """A file with what a webhook's bodies are signed with; empty: they are not signed."""


@dataclass(frozen=True, slots=True)
class AlertRule:
    """What is watched, of which sessions, and what is told about it."""

    name: str
    app_id: str
    metric: str
    """One of `ALERT_METRICS`."""
    filter: str
    """In its text form."""
    cohort: str
    """The name of a saved filter that sessions have to pass as well; empty for none."""
    by: str | None
    window_ms: int
    every_ms: int
    delay_ms: int
    """The window ends so long before the time of the evaluation: what comes late is in it by then."""
    judgement: Judgement
    channels: tuple[str, ...]
    summary: str
    """The rule's own words for people."""
    definition: str
    """A digest of all of this: evaluations say by which rule they were made."""

    @property
    def parsed(self) -> Filter:
        return parse(self.filter)


@dataclass(frozen=True, slots=True)
class AlertRules:
    """A whole file."""

    rules: tuple[AlertRule, ...]
    channels: Mapping[str, Channel]
    settle_ms: int = 60_000
    """So long after its time an evaluation is made: rows that were on their way to ClickHouse are there."""
    dashboard_url: str = ""
    """Where the dashboard is; messages have links if it is known."""


def read_rules(text: str) -> AlertRules:
    """What a file says. Raises InvalidAlerts for the first thing in it that is wrong."""
    try:
        told = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidAlerts(f"it is not TOML: {error}") from error
    if told.get("version") != VERSION:
        raise InvalidAlerts(f"version has to be {VERSION}, the only one there is")
    _only(told, {"version", "settle", "dashboard_url", "channels", "rules"}, "the file")
    channels = {
        str(name): _channel(str(name), given)
        for name, given in _table(told.get("channels", {}), "channels").items()
    }
    given = told.get("rules", [])
    if not isinstance(given, list) or len(given) > MAX_RULES:
        raise InvalidAlerts(f"rules have to be written as [[rules]], at most {MAX_RULES} of them")
    rules = tuple(_rule(number, each, channels) for number, each in enumerate(given, 1))
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise InvalidAlerts(f"two rules have the name {name!r}: it is what their history is found by")
    url = _text(told, "dashboard_url", "the file", "")
    if url and not url.startswith(("http://", "https://")):
        raise InvalidAlerts("dashboard_url has to begin with http:// or https://")
    return AlertRules(
        rules, channels, _duration(told, "settle", "the file", 60_000, 10_000, 3_600_000), url.rstrip("/")
    )


def _channel(name: str, given: Any) -> Channel:
    where = f"channels.{name}"
    table = _table(given, where)
    _only(table, _CHANNEL_KEYS, where)
    kind = _text(table, "kind", where)
    if kind not in CHANNEL_KINDS:
        raise InvalidAlerts(f"{where}: kind has to be one of {', '.join(CHANNEL_KINDS)}")
    channel = Channel(
        name,
        kind,
        _text(table, "url", where, ""),
        _text(table, "url_file", where, ""),
        _text(table, "secret_file", where, ""),
    )
    if bool(channel.url) == bool(channel.url_file):
        raise InvalidAlerts(f"{where}: give either url or url_file")
    if channel.url and kind != "apprise" and not channel.url.startswith(("http://", "https://")):
        raise InvalidAlerts(f"{where}: url has to begin with http:// or https://")
    if channel.secret_file and kind != "webhook":
        raise InvalidAlerts(f"{where}: secret_file is only for a webhook")
    return channel


def _rule(number: int, given: Any, channels: Mapping[str, Channel]) -> AlertRule:
    table = _table(given, f"rule {number}")
    name = _text(table, "name", f"rule {number}")
    if not 0 < len(name) <= _NAME_LENGTH or not name.isprintable():
        raise InvalidAlerts(
            f"rule {number}: name has to have 1 to {_NAME_LENGTH} characters that can be printed"
        )
    where = f"rule {name!r}"
    _only(table, _RULE_KEYS, where)
    metric = _text(table, "metric", where)
    if metric not in ALERT_METRICS:
        raise InvalidAlerts(f"{where}: {unknown('metric', metric, ALERT_METRICS)}")
    filter = _text(table, "filter", where, "")
    _check_filter(filter, where)
    by = _text(table, "by", where, "") or None
    if by is not None:
        found = split(by)
        if found is None or not found.is_offered:
            raise InvalidAlerts(f"{where}: by: {unknown('dimension to split by', by, split_names())}")
    every = _duration(table, "every", where, 900_000, 60_000, DAY_MS)
    if DAY_MS % every:
        raise InvalidAlerts(f"{where}: every has to be a part of a day, such as 5m, 15m, 1h or 6h")
    told = table.get("channels", [])
    if not isinstance(told, list) or any(each not in channels for each in told):
        raise InvalidAlerts(
            f"{where}: channels has to be a list of {', '.join(channels) or 'the names under [channels]'}"
        )
    return AlertRule(
        name=name,
        app_id=_text(table, "app", where),
        metric=metric,
        filter=filter,
        cohort=_text(table, "cohort", where, ""),
        by=by,
        window_ms=_duration(table, "window", where, 3_600_000, 60_000, LONGEST_WINDOW_MS),
        every_ms=every,
        delay_ms=_duration(table, "delay", where, 0, 0, 7 * DAY_MS),
        judgement=_judgement(table, where),
        channels=tuple(dict.fromkeys(told)),
        summary=_text(table, "summary", where, ""),
        definition=blake2b(repr(sorted(table.items())).encode(), digest_size=8).hexdigest(),
    )


def _judgement(table: Mapping[str, Any], where: str) -> Judgement:
    warning, error = _bound(table, "warning", where), _bound(table, "error", where)
    if warning is None and error is None:
        raise InvalidAlerts(f"{where}: give a bound, such as error = {{ below = 0.99 }}")
    compare = _text(table, "compare", where, "")
    if compare not in ("", "difference", "ratio"):
        raise InvalidAlerts(f"{where}: compare has to be difference or ratio, to the week before")
    no_data = _text(table, "no_data", where, "quiet")
    if no_data not in ("quiet", "tell"):
        raise InvalidAlerts(f"{where}: no_data has to be quiet or tell")
    return Judgement(
        warning=warning,
        error=error,
        compare=cast(Literal["", "difference", "ratio"], compare),
        # A count is one of none as well: where nobody comes there is something to tell.
        min_sessions=_number(
            table, "min_sessions", where, 0 if metric_of(table).unit == "count" else 1, 10**9
        ),
        min_users=_number(table, "min_users", where, 0, 10**9),
        times=_number(table, "times", where, 1, 100),
        tells_no_data=no_data == "tell",
    )


def metric_of(table: Mapping[str, Any]) -> Any:
    """The metric that a rule names, which is known."""
    return ALERT_METRICS[table["metric"]]


def _bound(table: Mapping[str, Any], name: str, where: str) -> Bound | None:
    if name not in table:
        return None
    given = _table(table[name], f"{where}: {name}")
    _only(given, {"below", "above"}, f"{where}: {name}")
    for each in given.values():
        if isinstance(each, bool) or not isinstance(each, int | float) or not abs(each) < 1e300:
            raise InvalidAlerts(f"{where}: {name} has to have numbers")
    if not given:
        raise InvalidAlerts(f"{where}: {name} has to have below, above or both")
    return Bound(given.get("below"), given.get("above"))


def _check_filter(text: str, where: str) -> None:
    try:
        require_steady(checked(parse(text)))
    except FilterError as error:
        raise InvalidAlerts(f"{where}: filter: {error}") from error


def require_steady(filter: Filter) -> Filter:
    """The filter. Raises FilterError where it would not choose the same sessions at each evaluation."""
    if any(isinstance(value, Duration) and value <= 0 for value in _values_of_times(filter)):
        raise FilterError("a time counted from now would differ at each evaluation; use window")
    return filter


def _values_of_times(filter: Filter) -> Iterable[object]:
    match filter:
        case All(filters) | AnyOf(filters):
            for each in filters:
                yield from _values_of_times(each)
        case Not(inner):
            yield from _values_of_times(inner)
        case Test(name, _, value) if name.endswith("_at"):
            yield from value if isinstance(value, tuple) else (value,)
        case _:
            return


def _table(given: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(given, dict):
        raise InvalidAlerts(f"{where} has to be a table of names and values")
    return given


def _only(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    for name in table:
        if name not in known:
            raise InvalidAlerts(f"{where}: {name!r} is not known; there are {', '.join(sorted(known))}")


def _value(
    table: Mapping[str, Any], name: str, where: str, default: Any, fits: Callable[[Any], bool], allowed: str
) -> Any:
    given = table.get(name, default)
    if given is None or (name in table and not fits(given)):
        raise InvalidAlerts(f"{where}: {name} has to be {allowed}")
    return given


def _text(table: Mapping[str, Any], name: str, where: str, default: str | None = None) -> str:
    return str(_value(table, name, where, default, lambda given: isinstance(given, str), "a text"))


def _number(table: Mapping[str, Any], name: str, where: str, least: int, most: int) -> int:
    def fits(given: Any) -> bool:
        return isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= most

    return int(_value(table, name, where, least, fits, f"a whole number up to {most}"))


def _duration(table: Mapping[str, Any], name: str, where: str, default: int, least: int, most: int) -> int:
    if name not in table:
        return default
    given = table[name]
    found = duration_of(given) if isinstance(given, str) else None
    if found is None or not least <= found <= most or found % 1_000:
        raise InvalidAlerts(f"{where}: {name} has to be a duration such as 15m, 1h or 1d")
    return int(found)
