"""Apps, the box, what filters can say, and the pipeline itself."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from pipeline.api.endpoint import ApiEndpoint, ApiRequest, filter_of
from pipeline.api.letters_of_app import MOST_BYTES, MOST_LOOKED_AT, letters_of_app
from pipeline.api.of_sessions import ApiSession
from pipeline.api.parameters import ANY_APP, FILTER, Parameter, limit
from pipeline.api.problem import RequestRefused
from pipeline.api.shape import Count, Time, all_shaped, shaped
from pipeline.dashboard.pages.find import LONGEST_ID, FindPage
from pipeline.dashboard.pages.pipeline import EXAMPLE
from pipeline.query import suggestions
from pipeline.query.dead_letters import DeadLetterChoice, by_reason, newest
from pipeline.query.dimensions import DIMENSIONS, KEYED, KEYED_OPERATORS, Dimension
from pipeline.query.filters.json_form import to_json
from pipeline.query.filters.text_form import parse, to_text
from pipeline.query.filters.tree import FilterError
from pipeline.query.operations import LEDGER_DAYS, ledger_totals_lately, ledger_totals_with_conflicts
from pipeline.query.sessions import apps_and_extents

_MOST_LETTERS = 500


class ApiApp(Struct, kw_only=True):
    """An app that has sent sessions."""

    app_id: str
    oldest_session_at: Time
    newest_session_at: Time
    sessions_written: Count
    """At least as many as there are sessions: rows that were written of them."""


class Apps(Struct, kw_only=True):
    """All apps that the key may see."""

    items: list[ApiApp]


class ApiHit(Struct, kw_only=True):
    """Something that was found."""

    kind: str
    """`session`, `SDK session`, `stitched session`, `user`, `device`, `exception` or `event`."""
    id: str
    app: str
    detail: str
    page: str
    """Its page on the dashboard."""
    session: ApiSession | None


class ApiFound(Struct, kw_only=True):
    """What a text belongs to."""

    q: str
    filter: str | None
    """Its canonical form, where it is a filter; then nothing is looked for."""
    items: list[ApiHit]
    looked_at: list[str]


class Field(Struct, kw_only=True):
    """A field that a filter can use."""

    name: str
    label: str
    group: str
    type: str
    operators: list[str]
    values: list[str]
    """All that are allowed; none: any."""
    suggestions: list[str]
    is_suggested: bool
    """Whether /filters/values gives what was stored lately."""
    is_duration: bool
    split: str | None
    """What metrics are split by under it; null where they are not."""


class ApiKeyed(Struct, kw_only=True):
    """Fields whose names continue with a key that the app chooses."""

    start: str
    label: str
    group: str
    split: str
    operators: list[str]


class Fields(Struct, kw_only=True):
    """All that a filter can use."""

    fields: list[Field]
    keyed: list[ApiKeyed]
    events: list[str]
    """Names that events had lately, of all apps that the key may see; none are told to a key for some apps."""


class Values(Struct, kw_only=True):
    """Values that are often found."""

    items: list[str]


class ReadFilter(Struct, kw_only=True):
    """A filter, read."""

    filter: str
    json: dict[str, Any]


class LedgerLine(Struct, kw_only=True):
    """The account of a partition."""

    topic: str
    partition: int
    records: Count
    missing: int
    """Offsets that no range accounts for."""
    received: Count
    events: Count
    duplicates: int
    refused: Count
    repaired: Count
    conflicts: int | None
    expired: Count
    sampled_out: Count
    erased: Count


class Ledger(Struct, kw_only=True):
    """What came in and what became of it."""

    days: Count | None
    """So many, up to the latest on which something came in; null: all."""
    items: list[LedgerLine]


class Example(Struct, kw_only=True):
    """A record that was refused."""

    topic: str
    partition: int
    offset: int
    event_index: int
    detail: str
    key: str
    value: str
    """Its beginning; what is not UTF-8 is U+FFFD."""
    bytes: Count


class ApiReason(Struct, kw_only=True):
    """Dead letters of one reason."""

    reason: str
    letters: Count
    records: Count
    waiting: Count
    left_out: Count
    first_at: Time
    last_at: Time
    example: Example


class Reasons(Struct, kw_only=True):
    """Dead letters by reason, most frequent first."""

    items: list[ApiReason]


class Letter(Struct, kw_only=True):
    """A dead letter."""

    time: Time
    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    event_index: int
    replayed_at: Time | None
    bytes: Count
    is_left_out: bool
    beginning: str


class ApiLetters(Struct, kw_only=True):
    """Dead letters, newest first."""

    items: list[Letter]
    looked_at: Count | None
    """Of one app: so many of the newest that the other parameters choose were looked at; null: all of them."""


async def apps(asked: ApiRequest) -> Apps:
    """By their ids."""
    known = await asked.reader.rows(apps_and_extents(""))
    rows = [row for row in known if not int(row["is_whole"])]
    return Apps(
        items=[
            shaped(ApiApp, row, oldest_session_at=row["oldest"], newest_session_at=row["newest"],
                   sessions_written=row["sessions"])
            for row in rows if asked.may_see(row["app_id"])
        ]
    )  # fmt: skip


async def find(asked: ApiRequest) -> ApiFound:
    """As the box on every page does."""
    text = asked.values["q"].strip()
    if not text:
        raise RequestRefused("bad-request", "`q` says nothing.", {"parameter": "q"})
    try:
        return ApiFound(q=text, filter=to_text(parse(text)), items=[], looked_at=[])
    except FilterError:
        pass
    if len(text) > LONGEST_ID:
        return ApiFound(q=text, filter=None, items=[], looked_at=[])
    found = await FindPage(asked.reader).found(text)
    items = [
        ApiHit(
            kind=hit.kind, id=hit.words, app=hit.app, detail=hit.detail, page=hit.address,
            session=shaped(ApiSession, hit.session) if hit.session else None,
        )
        for hit in found.hits if asked.may_see(hit.app)
    ]  # fmt: skip
    return ApiFound(q=text, filter=None, items=items, looked_at=found.looked_at)


async def fields(asked: ApiRequest) -> Fields:
    """Names, types and operators."""
    names = [] if asked.grant.apps else await asked.reader.rows(suggestions.event_names())
    return Fields(
        fields=[_field(each) for each in DIMENSIONS.values()],
        keyed=[
            ApiKeyed(start=start, label=each.label, group=each.group, split=each.split, operators=[*KEYED_OPERATORS])
            for start, each in KEYED.items()
        ],
        events=[row["name"] for row in names],
    )  # fmt: skip


def _field(each: Dimension) -> Field:
    return Field(
        name=each.name, label=each.label, group=each.group, type=each.type, operators=[*each.operators],
        values=[*each.values], suggestions=[*each.suggestions], is_suggested=each.is_suggested,
        is_duration=each.is_duration, split=each.split or None,
    )  # fmt: skip


async def values(asked: ApiRequest) -> Values:
    """Of a field, or the attributes of an event, or the values of one of them."""
    app, event, attribute = await asked.app(), asked.values["event"], asked.values["attribute"]
    name = asked.values["field"]
    if bool(name) == bool(event) or (attribute and not event):
        raise RequestRefused(
            "bad-request", "Name either a `field`, or an `event` with or without an `attribute`."
        )
    try:
        if name:
            statement = suggestions.values_of(app, name)
        elif attribute:
            statement = suggestions.attribute_values(app, event, attribute)
        else:
            statement = suggestions.attributes_of(app, event)
    except FilterError as error:
        raise RequestRefused(
            "bad-request", f"{str(error)[:1].upper()}{str(error)[1:]}.", {"parameter": "field"}
        ) from None
    return Values(items=[row["word"] for row in await asked.reader.rows(statement)])


async def read(asked: ApiRequest) -> ReadFilter:
    """A filter in its canonical form, and as JSON."""
    found = filter_of(asked.values["filter"])
    return ReadFilter(filter=to_text(found), json=dict(to_json(found)))


async def ledger(asked: ApiRequest) -> Ledger:
    """Lately, or of all time."""
    is_all = bool(asked.values["all"])
    totals = await asked.reader.run(ledger_totals_with_conflicts if is_all else ledger_totals_lately)
    items = [
        LedgerLine(**{name: getattr(line, name) for name in LedgerLine.__struct_fields__}) for line in totals
    ]
    return Ledger(days=None if is_all else LEDGER_DAYS, items=items)


async def reasons(asked: ApiRequest) -> Reasons:
    """Each with an example."""
    rows = await asked.reader.rows(by_reason())
    return Reasons(
        items=[
            shaped(ApiReason, row, example=shaped(Example, dict(zip(EXAMPLE, row["example"], strict=True))))
            for row in rows
        ]
    )


async def letters(asked: ApiRequest) -> ApiLetters:
    """Of a reason, or of all."""
    choice = DeadLetterChoice(
        reason=asked.values["reason"] or "", topic=asked.values["topic"] or "", start_ms=asked.values["from"],
        end_ms=asked.values["until"],
    )  # fmt: skip
    app, most = asked.values["app"], asked.values["limit"]
    if not app:
        return ApiLetters(
            items=all_shaped(Letter, await asked.reader.rows(newest(choice, most))), looked_at=None
        )
    if asked.outside.apps_of is None:
        raise RequestRefused("not-found", "Nothing here tells whose a dead letter is.")
    found = await asked.reader.run(letters_of_app(choice, app, most, asked.outside.apps_of))
    return ApiLetters(
        items=all_shaped(Letter, found.rows), looked_at=None if found.is_all else found.looked_at
    )


_Q = Parameter(
    "q", "An id of any kind or its beginning, the name of an exception, or a filter.", least=1, most=FILTER.most,
    is_required=True,
)  # fmt: skip
ENDPOINTS: tuple[ApiEndpoint, ...] = (
    ApiEndpoint("/apps", "listApps", "The apps that the key may see", Apps, apps, group="Apps"),
    ApiEndpoint(
        "/find", "find", "What an id, the beginning of one, or the name of an exception belongs to", ApiFound, find,
        (_Q,), group="Apps",
    ),
    ApiEndpoint("/filters/fields", "listFields", "All fields that a filter can use", Fields, fields, group="Filters"),
    ApiEndpoint(
        "/filters/values", "listValues", "Values of a field, attributes of an event, values of an attribute", Values,
        values,
        (
            ANY_APP, Parameter("field", "The name of a field.", least=1, most=220),
            Parameter("event", "The name of an event.", least=1),
            Parameter("attribute", "One of its attributes.", least=1),
        ),
        "As they were stored in the last 30 days, most frequent first, from a sample.", "Filters",
    ),
    ApiEndpoint(
        "/filters/read", "readFilter", "Whether a text is a filter, and what it says", ReadFilter, read,
        (Parameter("filter", FILTER.about, most=FILTER.most, is_required=True, example=FILTER.example),),
        group="Filters",
    ),
    ApiEndpoint(
        "/pipeline/ledger", "getLedger", "What came in, by partition, and what became of it", Ledger, ledger,
        (Parameter("all", f"Of all time, which reads everything, instead of {LEDGER_DAYS} days.", "flag"),),
        group="Pipeline", of_all_apps=True,
    ),
    ApiEndpoint(
        "/pipeline/dead-letters", "listReasons", "What was refused, by reason", Reasons, reasons, group="Pipeline",
        of_all_apps=True,
    ),
    ApiEndpoint(
        "/pipeline/dead-letters/newest", "listDeadLetters", "What was refused, one by one, newest first", ApiLetters,
        letters,
        (
            Parameter("app", "Only what names this app, as far as its bytes can be read.", least=1, most=ANY_APP.most),
            Parameter("reason", "Only for this reason.", least=1, most=100),
            Parameter("topic", "Only from this topic.", least=1, most=249),
            Parameter("from", "Record times from this one on.", "time"),
            Parameter("until", "Record times before this one.", "time"),
            limit(50, _MOST_LETTERS),
        ),
        "What is older than the setting dead_letter_retention_days is gone. No column says whose a dead letter is, so "
        f"with `app` the bytes of the newest {MOST_LOOKED_AT:,} are read, up to {MOST_BYTES // 1_000_000} MB of them. "
        "Where `looked_at` is a number and there are fewer items than `limit`, older ones may be of the app as well: "
        "narrow the request, such as by `until`.", "Pipeline", of_all_apps=True,
    ),
)  # fmt: skip
