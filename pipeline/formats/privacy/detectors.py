"""What in a text looks like an e-mail address, an IP address or the query of a URL, and the text with that replaced.

A stated and bounded set: what else there is of a person in a text is not found. Each is linear in the text, since no
expression here can match the same place in two ways. What is put in is never found again, so that a second look changes
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

Replace = Callable[[str], str]
"""Gets what was found; gives what stands there instead."""

_WORDS = re.compile(r"""[^\s"(),:;<>\[\]{}|\\=&?/]+""")
"""What an e-mail address is looked for in: runs without a character that ends one wherever it is written."""
_RUNS = re.compile(r"""[^\s"'<>`]+""")
"""What a URL is looked for in."""
_ADDRESSES = re.compile(r"[0-9A-Fa-f:.]+")
_LAST_LABEL = re.compile(r"(?:xn--[A-Za-z0-9-]{2,59}|[^\W\d_]{2,63})\Z")
_MAX_ADDRESS_CHARS = 45
_PREFIX_BITS = 48


def with_emails(text: str, replace: Replace) -> str:
    """Every word with an @ (or %40) that has a name before it and a host name of two labels behind it is replaced."""
    if "@" not in text and "%40" not in text:
        return text
    return _WORDS.sub(lambda found: replace(found[0]) if _is_email(found[0]) else found[0], text)


def _is_email(word: str) -> bool:
    local, at, host = word.replace("%40", "@").rpartition("@")
    if not at or not local.strip("@."):
        return False
    rest, dot, last = host.rstrip(".'!*-_").rpartition(".")
    return bool(dot and rest.strip(".-") and _LAST_LABEL.match(last))


def with_addresses(text: str, replace: Replace) -> str:
    """Every IPv4 and IPv6 address that stands by itself is replaced, but for the unspecified ones and loopback.

    Four numbers of a version look the same, and are taken for one.
    """
    if text.count(".") < 3 and text.count(":") < 2:
        return text

    def put(found: re.Match[str]) -> str:
        run, begin, end = found[0], *found.span()
        if run.count(".") >= 3:
            # Of IPv4: what is between colons, as a port behind it is. Only what stands at an end has a neighbour.
            pieces = run.split(":")
            last = len(pieces) - 1
            if not (last > 1 and _address(run)):
                return ":".join(
                    piece
                    if (not place and _is_word(text, begin - 1)) or (place == last and _is_word(text, end))
                    else _with_address(piece, replace)
                    for place, piece in enumerate(pieces)
                )
        is_apart = run[0] == ":" and not run.startswith("::")
        if (not is_apart and _is_word(text, begin - 1)) or _is_word(text, end):
            return run
        return _with_address(run, replace)

    return _ADDRESSES.sub(put, text)


def _is_word(text: str, at: int) -> bool:
    return 0 <= at < len(text) and (text[at].isalnum() or text[at] in "_-")


def _with_address(run: str, replace: Replace) -> str:
    """A run of hexadecimal digits, dots and colons: an address, perhaps the dot or colon of a sentence beside it."""
    begin = 0 if run.startswith("::") else len(run) - len(run.lstrip(".:"))
    end = len(run.rstrip("." if run.endswith("::") else ".:"))
    address = _address(run[begin:end])
    if address is None or address.is_unspecified or address.is_loopback:
        return run
    return run[:begin] + replace(run[begin:end]) + run[end:]


def _address(text: str) -> IPv4Address | IPv6Address | None:
    if len(text) > _MAX_ADDRESS_CHARS:
        return None
    try:
        return ip_address(text)
    except ValueError:
        return None


def network_of(text: str) -> str:
    """The mask of an IP address: the first 24 bits of an IPv4 address, 48 of an IPv6 address; the rest is 0."""
    address = _address(text)
    assert address is not None, "it was found as one"
    head, dot, _ = text.rpartition(".")
    if dot:
        return f"{head}.0"
    bits = int(address) >> (128 - _PREFIX_BITS) << (128 - _PREFIX_BITS)
    return str(IPv6Address(bits))


def with_queries(text: str, replace: Replace) -> str:
    """Of every URL what follows its path is replaced: the query and all behind it, and a fragment that holds a `=`.

    A URL is a run without blanks and quotes that has a `/` before that; `replace` gets what follows the `?` or `#`.
    """
    if "/" not in text or ("?" not in text and "#" not in text):
        return text
    return _RUNS.sub(lambda found: _with_query(found[0], replace), text)


def _with_query(run: str, replace: Replace) -> str:
    at = run.find("?")
    mark = run.find("#")
    if mark >= 0 and (at < 0 or mark < at) and "=" in run[mark:] and "?" not in run[mark:]:
        at = mark
    if at < 0 or at + 1 == len(run) or "/" not in run[:at]:
        return run
    return run[:at] + replace(run[at + 1 :])
