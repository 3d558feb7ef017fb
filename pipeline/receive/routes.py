"""Which address takes what: one entry each."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from starlette.requests import Request

from pipeline.formats import faro, measure, native
from pipeline.formats import otlp as otlp_format
from pipeline.formats import sentry as of_sentry
from pipeline.formats.format import Headers
from pipeline.formats.sentry.sender import PROJECT_HEADER
from pipeline.receive.answers import JSON, PROTOBUF, Style, by_topic, listing, otlp, sentry
from pipeline.receive.judging import Judge, envelopes, whole, whole_of

_OTLP_LOGS, _OTLP_SPANS, _EMBRACE = "otlp_logs", "otlp_spans", "embrace-events"
TEXT = "text/plain"
"""What a page sends without asking first: beacons, and fetches that avoid a preflight."""
FORM = "application/x-www-form-urlencoded"
"""What `curl -d` says of any body, JSON or not: the first that a newcomer sends."""


def copied(*names: str) -> Callable[[Request], Headers]:
    """Headers of the request that become headers of the record, under these names."""

    def headers_of(request: Request) -> Headers:
        return [(name, request.headers[name].encode("latin-1")) for name in names if name in request.headers]

    return headers_of


def project(request: Request) -> Headers:
    """The project in the path of an envelope of Sentry's, which does not say it itself."""
    return [(PROJECT_HEADER, request.path_params["project"].encode())]


@dataclass(frozen=True, slots=True)
class Route:
    """An address for bodies of one kind."""

    path: str
    """As Starlette has it; its parameters are in `request.path_params`."""
    name: str
    """In metrics."""
    judge: Judge
    style: Style
    methods: Collection[str] = ("POST",)
    content_types: Collection[str] = (JSON, TEXT, FORM)
    """Without parameters. A body may also come without any."""
    record_headers: Callable[[Request], Headers] = lambda request: ()
    may_be_empty: bool = False
    """Whether no bytes at all are a body, which says nothing."""


ROUTES: tuple[Route, ...] = (
    Route(
        "/v1/logs", "otlp_logs", whole(_OTLP_LOGS), otlp("rejectedLogRecords"),
        content_types=(PROTOBUF, JSON, TEXT), may_be_empty=True,
    ),
    Route(
        "/v1/traces", "otlp_spans", whole(_OTLP_SPANS), otlp("rejectedSpans"),
        content_types=(PROTOBUF, JSON, TEXT), may_be_empty=True,
    ),
    Route("/v1/events", native.ANY_KEY.name, envelopes, listing()),
    Route("/events", measure.FORMAT.name, whole(measure.FORMAT.topic), listing(202), methods=("PUT", "POST")),
    Route(
        "/collect", faro.FORMAT.name, whole(faro.FORMAT.topic), listing(202),
        record_headers=copied("X-Faro-Session-Id"),
    ),
    Route(
        "/api/{project}/envelope/", of_sentry.FORMAT.name, whole(of_sentry.FORMAT.topic), sentry(),
        content_types=(JSON, TEXT, "application/x-sentry-envelope", "application/octet-stream"),
        record_headers=project,
    ),
    # Of Embrace's SDKs that for browsers sends OTLP, to the same addresses.
    Route(
        "/v2/spans", "embrace", whole_of(otlp_format.SPANS, _EMBRACE),
        by_topic(_OTLP_SPANS, otlp("rejectedSpans"), listing()),
        content_types=(JSON, PROTOBUF, TEXT, FORM), record_headers=copied("X-EM-AID", "X-EM-DID"),
    ),
    Route(
        "/v2/logs", "embrace", whole_of(otlp_format.LOGS, _EMBRACE),
        by_topic(_OTLP_LOGS, otlp("rejectedLogRecords"), listing()),
        content_types=(JSON, PROTOBUF, TEXT, FORM), record_headers=copied("X-EM-AID", "X-EM-DID"),
    ),
)  # fmt: skip
