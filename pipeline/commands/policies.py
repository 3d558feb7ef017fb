"""`policies`: what single apps have of their own, published as versions that workers go over to without a restart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipeline import topics, wiring
from pipeline.clickhouse.policy_versions import stored_versions
from pipeline.clickhouse.store import Store
from pipeline.commands.failure import CommandFailed
from pipeline.commands.listed_policies import policies_of, taken
from pipeline.commands.times import TIMES, unix_ms
from pipeline.domain.policy_document import PolicyDocument
from pipeline.formats.policy_record import LARGEST_BYTES, control
from pipeline.kafka.admin import topic_partitions
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.produce import placed
from pipeline.kafka.waiting import require_broker
from pipeline.kafka.whole_topic import follow
from pipeline.roles.published import Published, changed, documents_of
from pipeline.settings import Settings

_AHEAD_MS = 120_000
"""How long after it is published a version begins to hold for events, unless told otherwise: no partition has an event
of that time before it has the version, since none is stored that is later than its record by more than a minute."""
_CLOCKS_MS = 60_000
_LONGEST_S = 30.0

app = typer.Typer(
    help="Policies, retention, privacy and sampling of apps, as versions that all workers switch to at once.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command("check")
def check_command() -> None:
    """Say what publishing these settings would change. Exits with 1 if they would be refused. Nothing is sent."""
    asyncio.run(_check(wiring.settings()))


@app.command("publish")
def publish_command(
    begin: Annotated[
        datetime | None,
        typer.Option(
            "--from",
            formats=TIMES,
            help="Events from this time on (UTC) are folded under it; the default is in two minutes. If it is "
            "past, devices that send something are folded anew, and `rebuild` does the rest.",
        ),
    ] = None,
) -> None:
    """Publish the policies of these settings as version `policy_version`: to every partition, for all workers.

    Publishing the same again changes nothing, and completes what was interrupted.
    """
    asyncio.run(_publish(wiring.settings(), begin))


@app.command("show")
def show_command(
    version: Annotated[int, typer.Option(help="Print this version as JSON.", min=0)] = 0,
) -> None:
    """List the versions that were published, and how far each has come."""
    asyncio.run(_show(wiring.settings(), version))


async def _check(settings: Settings) -> None:
    published, own = await _published(wiring.connection(settings)), policies_of(settings)
    document = published.to_publish(own)
    _require_size(document)
    newest = published.newest
    if document is newest:
        print(f"version {document.version} is published, and these settings say the same")
    elif newest is None:
        print(f"version {document.version} would be the first: it holds for all events")
    else:
        print(
            f"version {document.version} would follow {newest.version} and change: {_words(newest, document)}"
        )


async def _publish(settings: Settings, begin: datetime | None) -> None:
    connection, now_ms = wiring.connection(settings), int(time.time() * 1_000)
    published = await _published(connection)
    before, document = published.newest, published.to_publish(policies_of(settings))
    is_new = document is not before
    if is_new:
        document = replace(document, from_ms=now_ms + _AHEAD_MS if begin is None else unix_ms(begin))
    _require_size(document)
    value = control(document)
    await placed(connection, [(topics.POLICIES, 0, str(document.version).encode(), value)])
    partitions = sorted(await topic_partitions(connection, [topics.SDK_EVENTS]))
    places = await placed(connection, [(tp.topic, tp.partition, None, value) for tp in partitions])
    what = "is published" if is_new else "was published, and is sent once more"
    print(f"version {document.version} {what}: in all {len(places)} partitions of {topics.SDK_EVENTS}")
    if before is not None and is_new:
        print(f"it changes: {_words(before, document)}")
    print(f"sessions count under it from {_text(document.from_ms)} UTC on, by the times of their events")
    latest_ms = max(record_ms for _, _, record_ms in places)
    if is_new and latest_ms + _CLOCKS_MS >= document.from_ms:
        print(
            "partitions may have events of that time already: devices that send something are folded anew, and "
            "session-pipeline rebuild does the rest"
        )


async def _show(settings: Settings, version: int) -> None:
    published = await _published(wiring.connection(settings))
    if version:
        found = [each for each in published.versions if each.version == version]
        if not found:
            raise CommandFailed(f"version {version} was not published")
        print(control(found[0]).decode())
        return
    if published.newest is None:
        print("no policies were published: workers follow their settings")
        return
    store = wiring.store(settings)
    try:
        stored = await asyncio.to_thread(stored_versions, store)
    finally:
        store.close()
    table = Table("version", "holds from (UTC)", "changes", title="published policies")
    table.add_column("partitions", justify="right")
    before: PolicyDocument | None = None
    for each in published.versions:
        count = sum(row.version == each.version for row in stored)
        changes = "the first" if before is None else _words(before, each)
        table.add_row(str(each.version), _text(each.from_ms), changes, str(count))
        before = each
    Console().print(table)
    if difference := published.difference(policies_of(settings)):
        print(difference)


async def _published(connection: KafkaConnection) -> Published:
    """All that was published. Raises `CommandFailed` where that cannot be read."""
    await require_broker(connection)
    published, through = Published(), asyncio.Event()

    def take(values: Sequence[bytes]) -> None:
        taken(published, values)

    reading = asyncio.create_task(follow(connection, topics.POLICIES, take, through))
    try:
        async with asyncio.timeout(_LONGEST_S):
            await through.wait()
    except TimeoutError:
        raise CommandFailed(
            f"the topic {topics.POLICIES} cannot be read: session-pipeline migrate makes it, check says what is amiss"
        ) from None
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    return published


async def list_again(connection: KafkaConnection, store: Store) -> None:
    """Put the versions that ClickHouse has on the list of a broker that lost it."""
    documents = documents_of(await asyncio.to_thread(stored_versions, store))
    items = [(topics.POLICIES, 0, str(each.version).encode(), control(each)) for each in documents]
    if items:
        await placed(connection, items)


def _require_size(document: PolicyDocument) -> None:
    if (size := len(control(document))) > LARGEST_BYTES:
        raise CommandFailed(
            f"the policies of {len(document.apps)} apps are {size} bytes, at most {LARGEST_BYTES} fit"
        )


def _words(before: PolicyDocument, after: PolicyDocument) -> str:
    found: Sequence[str] = changed(before, after)
    if not found:
        return "nothing"
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    return ", ".join(found[:8]) + more


def _text(at_ms: int) -> str:
    return datetime.fromtimestamp(max(0, at_ms) / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
