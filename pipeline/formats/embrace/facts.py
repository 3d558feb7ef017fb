"""What Embrace's spans and logs come to: facts, each with an id of its own; and what their attributes say.

The attributes are those that Embrace's SDKs set (`emb.*`), whether they came in Embrace's own envelope, where every
value is a text, or in OTLP, where they have types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.formats.hashed_ids import digest_id, hashed
from pipeline.formats.limits import MAX_ID_CHARS

Attributes = Mapping[str, Any]

NS = 1_000_000
"""Nanoseconds in the millisecond that times are kept in."""

_STEERING = frozenset(
    (
        *("app.state", "passive", "fatal", "severity", "app.exit.reason", "app.launch.type"),
        *("android.app.state", "ios.app.state", "browser.page.visibility", "app.screen.view.derived"),
    )
)
"""Attributes that mean something to a session. One of an app's own under such a name means the app's own thing."""
_SAID_ELSEWHERE = frozenset(("log.record.uid", "emb.private.send_mode"))


class EmbraceFact(NamedTuple):
    """One event."""

    id: str
    time_ns: int
    name: str
    attributes: dict[str, Any]
    session: str
    """The id of the session part that it is of; empty where it names none."""


class EmbraceMoment(NamedTuple):
    """Something that happened at a moment of a span."""

    name: str
    time_ns: int
    attributes: Attributes


class EmbraceSpan(NamedTuple):
    """A span, whole or as far as it was known."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start_ns: int
    end_ns: int
    """0 while it goes on."""
    is_failed: bool
    attributes: Attributes
    events: Sequence[EmbraceMoment | None] = ()
    """None stands for one that was refused: the place of an event in the list is part of its id."""

    def id(self, suffix: str) -> str:
        """The id of a fact of this span."""
        return bounded_id(f"{self.trace_id}-{self.span_id}", suffix)

    @property
    def is_ended(self) -> bool:
        return self.end_ns > 0


class EmbraceLog(NamedTuple):
    """A log record."""

    time_ns: int
    severity_number: int
    severity_text: str
    body: Any
    attributes: Attributes


def bounded_id(text: str, suffix: str = "") -> str:
    """The text and the suffix, as an event may have them for its id: hashed where it is too long, never cut."""
    whole = text + suffix
    if len(whole) <= MAX_ID_CHARS and "\0" not in whole:
        return whole
    return digest_id(text.encode()) + suffix


def hashed_id(*parts: Any) -> str:
    """An id for what has none of its own: of its content, not of its place in a batch, which a resend changes."""
    return hashed(parts)


def text(attributes: Attributes, *names: str) -> str:
    """The first of these attributes that is a text with something in it; `null` as a text is nothing."""
    for name in names:
        value = attributes.get(name)
        if isinstance(value, str) and value and value != "null":
            return value
    return ""


def is_true(attributes: Attributes, name: str) -> bool:
    """Whether an attribute is true, or the text of it."""
    value = attributes.get(name)
    return value is True or (isinstance(value, str) and value.lower() == "true")


def is_false(attributes: Attributes, name: str) -> bool:
    """Whether an attribute is there and says no."""
    value = attributes.get(name)
    return value is False or (isinstance(value, str) and value.lower() == "false")


def whole_number(value: Any) -> int | None:
    """A whole number of at most 64 bits, or the text of one; None for anything else."""
    if type(value) is int:
        return value if abs(value) < 2**63 else None
    if isinstance(value, str):
        digits = value[1:] if value[:1] == "-" else value
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 19):
            return None
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**63:
        return None
    return int(value)


def session_part_of(attributes: Attributes) -> str:
    """The id of the session part.

    SDKs that know user sessions write that one's id to `session.id`; those before them wrote the part's there.
    """
    part = text(attributes, "emb.session_part_id")
    if not part and "emb.user_session_id" not in attributes:
        part = text(attributes, "session.id")
    return part if len(part) <= MAX_ID_CHARS else ""


def own(attributes: Attributes, **steering: Any) -> dict[str, Any]:
    """The attributes as an event has them, and what steers sessions (`_` for a dot): only this program sets that."""
    kept: dict[str, Any] = {name.replace("_", "."): value for name, value in steering.items() if value}
    for name, value in attributes.items():
        if name in _STEERING:
            kept[f"attribute.{name}"] = value
        elif name not in _SAID_ELSEWHERE and not (value == "null" and name.startswith("emb.")):
            kept[name] = value
    return kept


def state_of(attributes: Attributes) -> str:
    """The app's state as `emb.state` has it; empty where it says neither."""
    state = text(attributes, "emb.state")
    return state if state in ("foreground", "background") else ""


def milliseconds(start_ns: int, end_ns: int) -> int | None:
    """How long it took; None where its end is before its start, as a clock that was set gives it."""
    return (end_ns - start_ns) // NS if end_ns >= start_ns else None
