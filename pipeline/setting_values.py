"""What a setting may be: how its text becomes a value, what is allowed, and why nothing else is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import available_timezones

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_URL = "http[s]://[user:password@]host:port/database"
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/,?#@]+")
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?")


@dataclass(frozen=True, slots=True)
class Form:
    """What a setting may be.

    `parse` turns its text into the value. It raises `ValueError`, whose message continues from the text: "is not …".
    """

    parse: Callable[[str], Any]
    allowed: str
    """What is allowed, in words, with the unit."""
    is_text: bool = False
    """Any text, as it is: a number in the file does not count as text."""
    is_secret: bool = False
    """Its value is never shown."""


def setting(default: Any, form: Form, about: str, *, shown: bool = True) -> Any:
    """A field of `Settings`. `about` says what it is and when to change it; deploy/SETTINGS.md has that too."""
    return field(default=default, repr=shown, metadata={"form": form, "about": about})


def duration(least: str, most: str, below: str, above: str, *, or_ever: bool = False) -> Form:
    """A time with its unit, from `least` to `most`; `below` and `above` say why no less and no more.

    The value is in milliseconds. `or_ever`: -1 is allowed as well and means for ever.
    """
    least_ms, most_ms = _duration_ms(least), _duration_ms(most)
    allowed = f"{least} to {most}{', or -1 for ever' if or_ever else ''}"

    def parse(text: str) -> int:
        if or_ever and text.strip() == "-1":
            return -1
        value_ms = _duration_ms(text)
        if not least_ms <= value_ms <= most_ms:
            raise ValueError(
                f"is not allowed: {below if value_ms < least_ms else above} (allowed: {allowed})"
            )
        return value_ms

    return Form(parse, f"a time with its unit (ms, s, m, h, d): {allowed}")


def number(least: int, most: int, below: str, above: str, *, unit: str = "", multiple: int = 1) -> Form:
    """A whole number from `least` to `most`, of a `multiple`; `below` and `above` say why no less and no more."""
    allowed = f"{least} to {most}" + (f", in steps of {multiple:,}" if multiple > 1 else "")

    def parse(text: str) -> int:
        value = _whole_number(text, allowed)
        if not least <= value <= most:
            raise ValueError(f"is not allowed: {below if value < least else above} (allowed: {allowed})")
        if value % multiple:
            raise ValueError(f"is not a multiple of {multiple:,}, where a range of the ledger begins")
        return value

    return Form(parse, f"{unit or 'a whole number'}: {allowed}")


def share(unit: str) -> Form:
    """A number over 0 and at most 1."""

    def parse(text: str) -> float:
        given = text.strip()
        if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", given):
            raise ValueError("is not a number such as 0.25")
        value = float(given)
        if not 0 < value <= 1:
            raise ValueError("is not allowed: over 0, at most 1")
        return value

    return Form(parse, f"{unit}: over 0, at most 1")


def secret(least: int, below: str) -> Form:
    """A text of at least so many characters, or none; `below` says why no fewer."""

    def parse(given: str) -> str:
        if given and len(given) < least:
            raise ValueError(f"is not allowed: {below} (allowed: {least} characters or more, or none)")
        return given

    return Form(parse, f"{least} characters or more, or none", is_text=True, is_secret=True)


def whole_seconds(form: Form) -> Form:
    """A duration of whole seconds."""

    def parse(text: str) -> int:
        value_ms: int = form.parse(text)
        if value_ms % 1_000:
            raise ValueError("is not a number of whole seconds")
        return value_ms

    return Form(parse, f"{form.allowed}, in whole seconds")


def one_of(*allowed: str) -> Form:
    """One of a few words."""

    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"is not one of {', '.join(allowed)}")
        return text

    return Form(parse, " or ".join((", ".join(allowed[:-1]), allowed[-1])))


def text(allowed: str, *, is_secret: bool = False) -> Form:
    """Any text on one line; it may be empty."""

    def parse(given: str) -> str:
        if any(ord(character) < 32 or ord(character) == 127 for character in given):
            raise ValueError("has a control character, such as a line break")
        if given and not given.strip():
            raise ValueError("is blank")
        return given

    return Form(parse, allowed, is_text=True, is_secret=is_secret)


# Kafka allows 249 characters, of which some are kept for what a worker adds.
_INSTANCE_IDS = "up to 200 letters, digits, dots, underscores and hyphens, a letter or a digit first"


def _time_zone(given: str) -> str:
    name = given.strip()
    if name not in available_timezones():
        raise ValueError("is not a time zone: use an IANA name, such as Europe/Berlin, or UTC")
    return name


def _instance_id(given: str) -> str:
    if not re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._-]{0,199})?", given):
        raise ValueError(f"is not a name for a worker (allowed: {_INSTANCE_IDS})")
    return given


INSTANCE_ID = Form(_instance_id, _INSTANCE_IDS, is_text=True)


def _duration_ms(given: str) -> int:
    match = re.fullmatch(r"([0-9]+)(ms|s|m|h|d)", given.strip())
    if not match:
        raise ValueError("is not a duration such as 2s, 30m, 12h or 400d")
    return int(match[1]) * _UNITS_MS[match[2]]


def _whole_number(given: str, allowed: str) -> int:
    # Digits of other scripts would do for Python.
    if not re.fullmatch(r"[0-9]+", given.strip()):
        raise ValueError(f"is not a whole number (allowed: {allowed})")
    return int(given)


def _port_of_server(given: str) -> None:
    if not 0 < int(given) <= 65_535:
        raise ValueError(f"has an invalid port, {given} (allowed: 1 to 65535)")


def _bootstrap(given: str) -> str:
    for server in given.split(","):
        if not re.fullmatch(r"[^\s:,/]+:[0-9]{1,5}|\[[0-9a-fA-F:]+\]:[0-9]{1,5}", server.strip()):
            raise ValueError("is not a list of host:port, separated by commas")
        _port_of_server(server.strip().rpartition(":")[2])
    return given


def _hosts_or_none(given: str) -> str:
    return _bootstrap(given).replace(" ", "") if given else given


def _cluster(given: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*|", given):
        raise ValueError("is not a name of letters, digits, _ and -")
    return given


def _quorum(given: str) -> str:
    if not re.fullmatch(r"|auto|[2-9]|[1-9][0-9]", given):
        raise ValueError("is neither auto nor a number of replicas from 2 to 99")
    return given


def _host(given: str) -> str:
    try:
        ip_address(given)
    except ValueError:
        if not _HOST_NAME.fullmatch(given) or re.fullmatch(r"[0-9.]+|[0-9.]+e[0-9.]*", given):
            raise ValueError("is not an address or host name (an empty one would be every address)") from None
    return given


def _networks(given: str) -> str:
    for network in given.split(",") if given.strip() else ():
        try:
            is_all = ip_network(network.strip()).prefixlen == 0
        except ValueError:
            raise ValueError("is not a list of addresses or networks, separated by commas") from None
        if is_all:
            raise ValueError("covers every address: then anybody could claim where a request comes from")
    return given.replace(" ", "")


def _names(given: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][\w.-]*([,+][A-Za-z_][\w.-]*)*", given, re.ASCII):
        raise ValueError(
            "is not a list of names, separated by commas, with a + between those that are joined"
        )
    return given


def _counts(given: str) -> str:
    if given and not re.fullmatch(r"[1-9][0-9]{0,4}(,[1-9][0-9]{0,4})*", given, re.ASCII):
        raise ValueError("is not a list of numbers of partitions, separated by commas, such as 8 or 8,12")
    return given


def _projects(given: str) -> str:
    projects = [pair.partition("=")[0] for pair in given.split(",")] if given else []
    if given and not re.fullmatch(r"[^\s,=/]{1,128}=[^\0,/]{1,128}(,[^\s,=/]{1,128}=[^\0,/]{1,128})*", given):
        raise ValueError("is not a list of project=app, separated by commas, such as 7=org.example.shop")
    if len(set(projects)) < len(projects):
        raise ValueError("names a project twice")
    return given


def _origins(given: str) -> str:
    origins = given.replace(" ", "")
    for origin in origins.split(",") if origins else ():
        if origin not in {"*", "null"} and not _ORIGIN.fullmatch(origin):
            raise ValueError(
                "is not a list of origins such as https://shop.example, separated by commas, or *"
            )
    return origins


def _url(given: str) -> str:
    if re.search(r"[\s\x00-\x1f\x7f]", given):
        raise ValueError("has whitespace or a control character")
    parts = urlsplit(given)
    is_whole = parts.scheme in {"http", "https"} and parts.hostname and re.fullmatch(r"/[^/]+/?", parts.path)
    if not is_whole or parts.query or parts.fragment:
        raise ValueError(f"is not of the form {_URL}")
    if parts.port == 0:  # raises ValueError unless it is a port, or none
        raise ValueError("has an invalid port, 0 (allowed: 1 to 65535)")
    return given


def _url_or_none(given: str) -> str:
    parts = urlsplit(given)
    is_one = parts.scheme in {"http", "https"} and parts.hostname and parts.username is None
    if given and (not is_one or parts.query or parts.fragment or re.search(r"[\s\x00-\x1f\x7f]", given)):
        raise ValueError("is not of the form https://host:port")
    if given and parts.port == 0:  # raises ValueError unless it is a port, or none
        raise ValueError("has an invalid port, 0 (allowed: 1 to 65535)")
    return given


URL_OR_NONE = Form(_url_or_none, "`https://host:port`; or none", is_text=True)


def _token_url(given: str) -> str:
    if not given:
        return given
    if re.search(r"[\s\x00-\x1f\x7f]", given):
        raise ValueError("has whitespace or a control character")
    parts = urlsplit(given)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.fragment or parts.username:
        raise ValueError("is not of the form https://host[:port]/path, without user and fragment")
    if parts.port == 0:  # raises ValueError unless it is a port, or none
        raise ValueError("has an invalid port, 0 (allowed: 1 to 65535)")
    if parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
        raise ValueError("would be readable on the way, with what the login is made of: use https")
    return given


BOOTSTRAP = Form(_bootstrap, "a list of host:port, separated by commas")
HOSTS_OR_NONE = Form(_hosts_or_none, "a list of host:port, separated by commas; or none", is_text=True)
NAMES = Form(_names, "names of attributes, separated by commas", is_text=True)
COUNTS = Form(_counts, "whole numbers, separated by commas; or none", is_text=True)
TIME_ZONE = Form(_time_zone, "an IANA name, such as `Europe/Berlin`", is_text=True)
PROJECTS = Form(_projects, "a list of project=app, separated by commas; or none", is_text=True)
CLUSTER = Form(_cluster, "a name of letters, digits, `_` and `-`; or none", is_text=True)
QUORUM = Form(_quorum, "`auto`, 2 to 99, or none", is_text=True)
HOST = Form(_host, "an address or host name", is_text=True)
ORIGINS = Form(
    _origins,
    "origins such as `https://shop.example`, `capacitor://localhost` or `null`, separated by commas; `*`; or none",
    is_text=True,
)
NETWORKS = Form(_networks, "addresses and networks, separated by commas; or none", is_text=True)
TOKEN_URL = Form(_token_url, "`https://host[:port]/path`; or none", is_text=True)
CLICKHOUSE_URL = Form(_url, f"`{_URL}`", is_text=True, is_secret=True)
PORT_OR_ANY = number(
    0, 65_535, "there is no such port", "there is no such port", unit="a port, or 0 for a free one"
)
PORT_OR_NONE = number(
    0, 65_535, "there is no such port", "there is no such port", unit="a port, or 0 for none"
)

LETTERS = number(
    1,
    1_000_000,
    "nobody could see what is refused",
    "ClickHouse would keep every record of a flood",
    unit="records",
)
VERSION = number(0, 2**32 - 1, "versions are not negative", "ClickHouse could not hold it")
DAYS = number(
    0,
    36_500,
    "days are not negative",
    "100 years are enough, and 0 means for ever",
    unit="days, 0 for ever",
)
