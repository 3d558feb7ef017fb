"""What goes wrong, as problem details (RFC 9457): a kind, a reason for people, and where a filter is at fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from starlette.responses import Response

from pipeline.errors import Terminal

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 10
"""What ClickHouse is given to come back."""


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """What may go wrong."""

    status: int
    title: str
    about: str
    """When it does, and what to do about it."""


KINDS: Mapping[str, ProblemKind] = {
    "bad-request": ProblemKind(
        400, "Bad request", "A parameter is unknown, given twice, missing or invalid."
    ),
    "bad-filter": ProblemKind(
        400,
        "The filter cannot be read",
        "`place` says where the fault is: the first character, counted from 0, and the one "
        "after the last. It is absent where the filter as a whole is at fault.",
    ),
    "too-much": ProblemKind(
        400,
        "This takes too much",
        "What one request may take is limited, in memory and in rows. Ask for a shorter range.",
    ),
    "no-key": ProblemKind(401, "A key is needed", "Send one as `Authorization: Bearer KEY`."),
    "not-your-app": ProblemKind(
        403,
        "The key does not cover this",
        "The key is for certain apps, and this is about another one or about the whole pipeline.",
    ),
    "not-allowed": ProblemKind(
        403,
        "This is not allowed",
        'This changes something, and the key may only read: it needs `access = "write"`. Or the '
        "dashboard's ClickHouse user lacks the right.",
    ),
    "not-found": ProblemKind(404, "Not found", "It does not exist, or no longer does."),
    "wrong-method": ProblemKind(405, "Wrong method", "`Allow` says which methods an address takes."),
    "gone": ProblemKind(
        410,
        "The session was restated",
        "Late events changed the sessions of the device; `successors` have its events now.",
    ),
    "body": ProblemKind(413, "This takes no body", "Everything is said in the address."),
    "too-large": ProblemKind(413, "The body is too large", "`detail` says how many bytes are accepted."),
    "long-address": ProblemKind(
        414, "The address is too long", "At most 32,000 bytes may come after the question mark."
    ),
    "media-type": ProblemKind(415, "Wrong kind of body", "Send JSON as `application/json`."),
    "refused-file": ProblemKind(
        422, "A file was refused", "`refused` says which and why; all others in the upload are stored."
    ),
    "too-fast": ProblemKind(
        429,
        "Too many requests",
        "How often a key may ask, and how much at once, is limited. `Retry-After` "
        "says when to try again, in seconds.",
    ),
    "fault": ProblemKind(
        500, "A fault in the program", "Please report it: the log of the dashboard says more."
    ),
    "not-now": ProblemKind(
        503,
        "No answer at the moment",
        "ClickHouse is away or busy, or the query took longer than it may. "
        "`Retry-After` says when to try again, in seconds.",
    ),
    "http-version": ProblemKind(
        505, "This takes HTTP/1.1", "Over HTTP/1.0, a file that broke off would look whole."
    ),
}


class FileRefusal(Struct):
    """A file that was not accepted."""

    name: str
    why: str


class Problem(Struct, kw_only=True):
    """Problem details, RFC 9457."""

    type: Annotated[
        str,
        Meta(
            extra_json_schema={"format": "uri-reference"},
            description="The kind of problem: an address that explains it.",
        ),
    ]
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: Annotated[str, Meta(description="What is wrong, in words.")]
    parameter: Annotated[str | UnsetType, Meta(description="The parameter that is at fault.")] = UNSET
    place: Annotated[
        list[int] | UnsetType,
        Meta(description="The first character of the filter at fault, from 0, and the one after the last."),
    ] = UNSET
    successors: Annotated[
        list[str] | UnsetType,
        Meta(description="The sessions that have the events of a session that is gone."),
    ] = UNSET
    refused: Annotated[
        list[FileRefusal] | UnsetType, Meta(description="The files that were not accepted, and why.")
    ] = UNSET


@dataclass(slots=True)
class RequestRefused(Terminal):
    """A request is answered with a problem."""

    kind: str
    """One of KINDS."""
    detail: str
    more: Mapping[str, object] = field(default_factory=dict)
    """Fields of `Problem` besides."""
    headers: Mapping[str, str] = field(default_factory=dict)


def response(refused: RequestRefused) -> Response:
    """The answer to a request that is refused."""
    kind = KINDS[refused.kind]
    told = Problem(
        type=f"/api#problem-{refused.kind}", title=kind.title, status=kind.status, detail=refused.detail
    )
    for name, value in refused.more.items():
        setattr(told, name, value)
    return Response(msgspec.json.encode(told), kind.status, dict(refused.headers), MEDIA_TYPE)
