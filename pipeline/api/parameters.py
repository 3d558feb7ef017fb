"""What an address may say: names, what each takes, and how it is read. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl

from pipeline.api.problem import RequestRefused
from pipeline.dashboard.address import LONGEST_FILTER, BadAddress, SessionChoice
from pipeline.query.finding import as_uuid
from pipeline.query.time_zone import zone_named

Form = Literal["text", "choice", "list", "whole", "time", "flag", "id", "zone"]
LONGEST_QUERY = 32_000
"""Bytes."""
_MOST_FIELDS = 40


@dataclass(frozen=True, slots=True)
class Parameter:
    """One thing that an address may say."""

    name: str
    about: str
    form: Form = "text"
    allowed: tuple[str, ...] = ()
    """Of a choice, and of the items of a list; a list without takes any."""
    least: int = 0
    most: int = 500
    """Characters of a text, or of a whole number the largest."""
    default: Any = None
    is_required: bool = False
    in_path: bool = False
    example: str = ""

    def schema(self) -> dict[str, object]:
        """As OpenAPI describes it."""
        made: dict[str, object] = {"type": "string"}
        if self.form == "choice":
            made["enum"] = list(self.allowed)
        elif self.form == "list":
            item = {"type": "string", **({"enum": list(self.allowed)} if self.allowed else {"minLength": 1})}
            made = {"type": "array", "items": item, "minItems": 1}
        elif self.form == "whole":
            made = {"type": "integer", "minimum": self.least, "maximum": self.most}
        elif self.form == "time":
            made["anyOf"] = [{"format": "date-time"}, {"format": "date"}]
        elif self.form == "zone":
            made |= {"minLength": 1, "maxLength": 100}
        elif self.form == "flag":
            made = {"type": "boolean"}
        elif self.form == "id":
            made["format"] = "uuid"
        else:
            made |= {"minLength": self.least, "maxLength": self.most}
        return made if self.default is None else {**made, "default": self.default}

    def read(self, text: str) -> Any:
        """The value of a text. Raises `Refused`."""
        if self.form == "choice":
            if text not in self.allowed:
                raise self.refused(f"must be one of {', '.join(self.allowed)}, not “{text[:40]}”")
            return text
        if self.form == "list":
            return self._list(text)
        if self.form == "whole":
            if not (text.isascii() and text.isdigit() and self.least <= int(text[:12]) <= self.most):
                raise self.refused(f"must be a whole number from {self.least} to {self.most:,}")
            return int(text[:12])
        if self.form == "flag":
            if text not in ("true", "false"):
                raise self.refused("must be true or false")
            return text == "true"
        if self.form == "time":
            return self._time(text)
        if self.form == "zone":
            try:
                return zone_named(text)
            except ValueError as error:
                raise self.refused(str(error)) from None
        if self.form == "id":
            return self._id(text)
        if not self.least <= len(text) <= self.most:
            raise self.refused(f"must have {self.least} to {self.most:,} characters")
        return text

    def refused(self, why: str) -> RequestRefused:
        """What is said where its value cannot be."""
        return RequestRefused("bad-request", f"`{self.name}` {why}.", {"parameter": self.name})

    def _list(self, text: str) -> tuple[str, ...]:
        items = tuple(dict.fromkeys(text.split(",")))
        unknown = [item for item in items if not item or (self.allowed and item not in self.allowed)]
        if unknown:
            known = f"; allowed are {', '.join(self.allowed)}" if self.allowed else ""
            raise self.refused(f"cannot have “{unknown[0][:40]}”{known}")
        return items

    def _time(self, text: str) -> int:
        try:
            found = SessionChoice.of({"from": text}).start_ms
        except BadAddress as error:
            raise RequestRefused("bad-request", f"`{self.name}`: {error}", {"parameter": self.name}) from None
        if found is None:
            raise self.refused("must be a time, and is empty")
        return found

    def _id(self, text: str) -> str:
        found = as_uuid(text)
        if found is None:
            if self.in_path:
                raise RequestRefused("not-found", f"“{text[:80]}” is not an id: ids are UUIDs.")
            raise self.refused("must be a UUID")
        return found


def read_query(query: bytes, known: Sequence[Parameter]) -> dict[str, Any]:
    """The values of all parameters by name, defaults where there are any, None where not. Raises `Refused`."""
    if len(query) > LONGEST_QUERY:
        raise RequestRefused(
            "long-address", f"At most {LONGEST_QUERY:,} bytes may come after the question mark."
        )
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict"
        )
    except ValueError:
        raise RequestRefused(
            "bad-request", "What comes after the question mark is not a list of fields in UTF-8."
        ) from None
    given: dict[str, str] = {}
    names = [each.name for each in known]
    for name, text in pairs:
        if name not in names:
            there = f"Its parameters are {', '.join(names)}." if names else "It has none."
            raise RequestRefused(
                "bad-request",
                f"“{name[:40]}” is not a parameter of this address. {there}",
                {"parameter": name[:80]},
            )
        if name in given:
            raise RequestRefused("bad-request", f"`{name}` is given twice.", {"parameter": name})
        if "\0" in text:
            raise RequestRefused("bad-request", f"`{name}` contains a NUL.", {"parameter": name})
        given[name] = text
    return _read(given, known)


def read_path(given: Mapping[str, str], known: Sequence[Parameter]) -> dict[str, Any]:
    """The values of the parts of a path. Raises `Refused`."""
    return {each.name: each.read(given[each.name]) for each in known}


def _read(given: Mapping[str, str], known: Sequence[Parameter]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for each in known:
        if each.name in given:
            values[each.name] = each.read(given[each.name])
        elif each.is_required:
            raise each.refused("is required")
        else:
            values[each.name] = each.default
    return values


APP = Parameter(
    "app",
    "The id of an app. By default, the first that the key may see.",
    least=1,
    example="org.example.shop",
)
ANY_APP = Parameter(
    "app", "The id of an app. By default, all that the key may see.", least=1, example="org.example.shop"
)
FILTER = Parameter(
    "filter", "Which sessions, in the filter language of schemas/README.md. By default, all.",
    most=LONGEST_FILTER, example='session.crash_count > 0 and app.version = "8.3.0"',
)  # fmt: skip
COHORT = Parameter("cohort", "A saved filter, by its name: sessions have to pass it too.", least=1, most=100)
AFTER = Parameter(
    "after",
    "Where a page continues: `next` of the page before, with the same parameters as there.",
    most=2_000,
)


ZONE = Parameter(
    "tz", "The time zone (IANA) of days, weeks and hours, and of times that name no offset. By default, UTC.", "zone",
    example="Europe/Berlin",
)  # fmt: skip


def span(default: str) -> tuple[Parameter, Parameter]:
    """From when, until when. `default` says what holds without."""
    return (
        Parameter("from", f"Where the range begins (included), UTC unless it names an offset. By default, {default}.",
                  "time", example="2026-01-05"),
        Parameter("until", "Where it ends (not included). By default, the minute after the newest session began.",
                  "time", example="2026-01-06"),
    )  # fmt: skip


def limit(default: int, most: int) -> Parameter:
    """How many on a page."""
    return Parameter(
        "limit", "How many to return on a page at most.", "whole", least=1, most=most, default=default
    )


def path_id(name: str, about: str) -> Parameter:
    """An id in the path."""
    return Parameter(name, about, "id", is_required=True, in_path=True)
