"""Which pages may send (CORS). Nothing is decided by a cookie here, so credentials are allowed to be there."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

ANY_ORIGIN = "*"
_LOOPBACK = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?")
_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]{0,4000}")
_PRIVATE_NETWORK = "access-control-request-private-network"
_MAX_AGE_S = 7_200
"""As long as Chromium keeps the answer to a preflight; others keep it for longer."""
_HEADERS = (
    *(
        "authorization",
        "content-type",
        "content-encoding",
        "x-api-key",
        "baggage",
        "traceparent",
        "tracestate",
    ),
    *(
        "x-em-aid",
        "x-em-did",
        "x-em-payload-types",
        "x-emb-retry-count",
        "x-faro-session-id",
        "x-sentry-auth",
    ),
    *("sentry-trace", "msr-req-id"),
)
"""What SDKs send; a page may ask for others, too, which are not looked at."""


class Origins:
    """The origins of pages that may send."""

    def __init__(self, allowed: Collection[str], *, loopback: bool) -> None:
        """`allowed` as browsers write them (`https://shop.example`), or `*` for all. `loopback`: where none is named,
        pages that come from this machine may send."""
        self._allowed = frozenset(allowed)
        self._loopback = loopback and not allowed

    def allows(self, origin: str) -> bool:
        """Whether a page of this origin may send; `null` (a file, a frame in a sandbox) only if it is named."""
        if ANY_ORIGIN in self._allowed or origin in self._allowed:
            return True
        return self._loopback and _LOOPBACK.fullmatch(origin) is not None


def answer_headers(origin: str) -> dict[str, str]:
    """What the answer to a page of an allowed origin says. With its own name, not `*`: beacons have credentials."""
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": "Retry-After",
        "Vary": "Origin",
    }


def refusal_headers(origin: str) -> dict[str, str]:
    """What the refusal of a page of any other origin says: the page may read why, and nothing else."""
    return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}


def other_preflight_headers(asked: Mapping[str, str], methods: str) -> dict[str, str]:
    """What the answer to such a page's question says besides. A browser tells nobody why a preflight failed, so the
    page may send, and is refused then. Empty for one that needs leave to reach into a private network: it gets none."""
    if asked.get(_PRIVATE_NETWORK) == "true":
        return {}
    # Once its origin is named, or no longer is, the answer is another.
    return preflight_headers(asked, methods) | {"Access-Control-Max-Age": "0"}


def preflight_headers(asked: Mapping[str, str], methods: str) -> dict[str, str]:
    """What the answer to a browser's question says besides, whether a page may send what it wants to."""
    names, more = ", ".join(_HEADERS), asked.get("access-control-request-headers", "")
    if more and _NAMES.fullmatch(more):
        names += f", {more}"
    headers = {
        "Access-Control-Allow-Methods": methods,
        "Access-Control-Allow-Headers": names,
        "Access-Control-Max-Age": f"{_MAX_AGE_S}",
    }
    if asked.get(_PRIVATE_NETWORK) == "true":
        headers["Access-Control-Allow-Private-Network"] = "true"
    return headers
