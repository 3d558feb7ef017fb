"""Where a number leads: the filter that finds the sessions behind it. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from pipeline.dashboard.address import LONGEST_FILTER
from pipeline.dashboard.words import iso
from pipeline.query import bad_ends
from pipeline.query.dimensions import dimension, split
from pipeline.query.filters.check import checked
from pipeline.query.filters.regex import MAX_PATTERN
from pipeline.query.filters.text_form import to_text
from pipeline.query.filters.tree import All, AnyOf, Filter, FilterError, HasEvent, Not, Test, parts_of

_DAY_MS = 86_400_000
_CUT_TYPE = 200
"""Characters of an exception's type that are kept with a notable event; longer ones are cut there."""


def of_group(by: str, group: str, condition: Filter) -> str | None:
    """The filter for the sessions of a group that also meet a condition; None where it cannot be written."""
    found = group_filter(by, group)
    return None if found is None else _written(found, condition)


def group_filter(by: str, group: str) -> Filter | None:
    """That a session counts in a group; None where no filter says it."""
    found = split(by)
    if found is None:
        return None
    if not found.operators:
        return _of_system(group) if by == "os" else None
    if found.type == "boolean":
        return Test(found.name, "eq", group == "true")
    if found.type == "number":
        return Test(found.name, "eq", int(group)) if group.isdecimal() else None
    is_group = Test(found.name, "eq", group)
    if group:
        return is_group
    if found.key is None:
        return Not(Test(found.name, "exists"))
    # Either it lacks the key or it has nothing there. Where the keys are a dimension, that is asked whether it has one.
    keys = found.name.removesuffix(f".{found.key}")
    has_key = Test(keys, "exists", found.key) if dimension(keys) else Test(found.name, "exists")
    return AnyOf((Not(has_key), is_group))


def other_groups(by: str, shown: Sequence[str]) -> Filter | None:
    """That a session counts in none of these groups, which is to be in the others; None where a session may be in
    several, or no filter says it."""
    found = split(by)
    filters = [group_filter(by, group) for group in shown]
    if found is None or found.type == "list" or None in filters:
        return None
    return All(tuple(Not(each) for each in filters if each is not None))


def _of_system(group: str) -> Filter:
    """System and version are written one after the other with a blank between, of which either may have more."""
    words = group.split(" ")
    parts = [(" ".join(words[:at]), " ".join(words[at:])) for at in range(len(words) + 1)]
    found = tuple(All((_has("os.name", name), _has("os.version", version))) for name, version in parts)
    return found[0] if not group else AnyOf(found)


def _has(name: str, value: str) -> Filter:
    return Test(name, "eq", value) if value else Not(Test(name, "exists"))


def to_group(app: str, group: str, started_ms: int) -> str:
    """The page of a crash group, over the thirty days up to the one on which a session of it starts (Unix ms)."""
    end_ms = (started_ms // _DAY_MS + 1) * _DAY_MS
    own = {"app": app, "from": iso(max(0, end_ms - 30 * _DAY_MS)), "to": iso(end_ms)}
    return f"/crashes/{quote(group, safe='')}?{urlencode(own)}"


def of_user(user_id: str, condition: Filter) -> str | None:
    """The filter for a user's sessions that also meet a condition."""
    return _written(Test("user.id", "eq", user_id), condition)


def of_all(wanted: Filter) -> str | None:
    """The filter itself; None where it cannot be written."""
    if isinstance(wanted, All) and len(wanted.filters) == 1:
        wanted = wanted.filters[0]
    return _written(wanted, All(()))


def of_crash(exception_type: str, condition: Filter) -> str | None:
    """The filter for sessions with a crash or fatal exception, by its type, as `notable_events` names it."""
    if exception_type == "unknown error":
        return None
    of_type = _of_type(exception_type)
    is_fatal = Test("fatal", "eq", "true")
    crashed = (HasEvent("app.crash", (of_type,)), HasEvent("exception", (is_fatal, of_type)))
    return _written(AnyOf(crashed), condition)


def of_exception(exception_type: str, condition: Filter) -> str | None:
    """The filter for sessions with an exception that was not fatal, by its type."""
    if exception_type == "unknown error":
        return None
    return _written(HasEvent("exception", (_of_type(exception_type),)), condition)


def of_request(request: str, status: str, condition: Filter) -> str | None:
    """The filter for sessions with such a request, as `failures.failing_requests` and `endpoints` name them.

    Of any status where that is empty.
    """
    return _written(request_filter(request, status), condition)


def request_filter(request: str, status: str) -> HasEvent:
    """That a session has such a request; of any status where that is empty."""
    tests = _of_address(request)
    if status:
        tests.append(Test("http.response.status_code" if status.isdigit() else "error.type", "eq", status))
    return HasEvent("http.client.request", tuple(tests))


def of_requests_that_fail(request: str, condition: Filter) -> str | None:
    """The filter for sessions in which such a request failed, whatever its status."""
    tests = _of_address(request)
    failed = (Test("http.response.status_code", "gte", 400), Test("error.type", "exists"))
    return _written(
        AnyOf(tuple(HasEvent("http.client.request", (*tests, each)) for each in failed)), condition
    )


def _of_address(request: str) -> list[Test]:
    method, _, place = request.rpartition(" ")
    host, slash, path = place.partition("/")
    # Numbers and ids were taken out of the path.
    steps = "[^/?#]+".join(re.escape(part) for part in path.split("{}"))
    pattern = f"^[A-Za-z]+://([^/@]*@)?{re.escape(host)}(:[0-9]+)?{slash}{steps}([?#]|$)"
    tests = [Test("http.request.method", "eq", method)] if method else []
    if host and len(pattern) <= MAX_PATTERN:
        tests.append(Test("url.full", "matches", pattern))
    return tests


CRASHED, HUNG = bad_ends.CRASHED.filter, bad_ends.HUNG.filter
"""A session that crashed, and one that hung."""


def of_end(kind: str, condition: Filter) -> str | None:
    """The filter for sessions that ended badly in one of the ways of `bad_ends` and meet a condition."""
    return _written(bad_ends.AS_FILTERS[kind], condition)


def _of_type(exception_type: str) -> Test:
    is_cut = len(exception_type) >= _CUT_TYPE
    return Test("exception.type", "contains" if is_cut else "eq", exception_type)


def _written(wanted: Filter, condition: Filter) -> str | None:
    others = parts_of(condition)
    try:
        text = to_text(checked(All((wanted, *others)) if others else wanted))
    except FilterError:
        return None  # a name that no filter may hold, or more than one filter takes: then there is no link
    return text if len(text) <= LONGEST_FILTER else None
