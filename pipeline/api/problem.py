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
        400, "Bad request", "A parameter is unknown, twice there, missing, or says what cannot be."
    ),
    "bad-filter": ProblemKind(
        400,
        "The filter cannot be read",
        "`place` has the first character at fault, from 0, and the "
        "one after the last; it is not there where the whole is at fault.",
    ),
    "too-much": ProblemKind(
        400,
        "That takes too much",
        "One question may take so much memory, and so many rows. Ask for a shorter range.",
    ),
    "no-key": ProblemKind(401, "A key is needed", "Send one as `Authorization: Bearer KEY`."),
    "not-your-app": ProblemKind(
        403,
        "The key is not for that",
        "The key is for certain apps, and this is another, or of the pipeline as a whole.",
    ),
    "not-allowed": ProblemKind(
        403,
        "That may not be done",
        'Something is to be changed, and the key only reads: one that may has `access = "write"`. Or the '
        "dashboard's ClickHouse user lacks the right.",
    ),
    "not-found": ProblemKind(404, "Not found", "There is no such thing, or none any more."),
    "wrong-method": ProblemKind(405, "That is not done here", "`Allow` says which methods an address takes."),
    "gone": ProblemKind(
        410,
        "The session was restated",
        "Late events changed the sessions of the device; `successors` have its events now.",
    ),
    "body": ProblemKind(413, "This takes no body", "All that is asked for stands in the address."),
    "too-large": ProblemKind(413, "The body is too large", "`detail` says how many bytes are taken."),
    "long-address": ProblemKind(
        414, "The address is too long", "At most 32,000 bytes come after the question mark."
    ),
    "media-type": ProblemKind(415, "Not this kind of body", "JSON is sent as `application/json`."),
    "refused-file": ProblemKind(
        422, "A file was refused", "`refused` says which and why; all others in the upload are stored."
    ),
    "too-fast": ProblemKind(
        429,
        "Too many requests",
        "A key may ask so often, and so many questions at once. `Retry-After` "
        "says when to try again, in seconds.",
    ),
    "fault": ProblemKind(
        500, "A fault of the program", "Please report it: the log of the dashboard has more."
    ),
    "not-now": ProblemKind(
        503,
        "No answer just now",
        "ClickHouse is away or busy, or the question took longer than it may. "
        "`Retry-After` says when to try again, in seconds.",
    ),
    "http-version": ProblemKind(
        505, "This takes HTTP/1.1", "Over HTTP/1.0, a file that broke off would look whole."
    ),
}


class FileRefusal(Struct):
    """A file that was not taken."""

    name: str
    why: str


class Problem(Struct, kw_only=True):
    """Problem details, RFC 9457."""

    type: Annotated[
        str,
        Meta(extra_json_schema={"format": "uri-reference"}, description="The kind; an address of its words."),
    ]
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: Annotated[str, Meta(description="What is wrong, for people.")]
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
        list[FileRefusal] | UnsetType, Meta(description="The files that are not taken, and why.")
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
