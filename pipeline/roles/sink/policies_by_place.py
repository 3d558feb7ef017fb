"""Under which version of the policies a record of `sdk-events` is stored: the latest before it in its partition."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from pipeline.clickhouse.policy_versions import StoredVersion, stored_versions
from pipeline.clickhouse.store import StatementFailed, Store, Unreachable
from pipeline.domain.policy_document import PolicyDocument
from pipeline.formats.edge import Edge
from pipeline.formats.policy_record import control, document_of, is_control
from pipeline.roles.ledger_guard import StartOffsets
from pipeline.roles.metrics import Metrics
from pipeline.roles.seldom import Seldom
from pipeline.roles.sink.left_out import LeftOut
from pipeline.roles.sink.pieces import Making
from pipeline.storage.kept import EVER, Keeping
from pipeline.storage.rows import ledger_row, policy_version_row
from pipeline.topics import TP

log = logging.getLogger(__name__)

_RETRY_S = 1.0
By = tuple[Edge, Keeping]


class PoliciesByPlace:
    """What the sink goes by at each place. Not for several threads."""

    def __init__(self, edge: Edge, keeping: Keeping, offset_base: int = 0) -> None:
        """`edge` and `keeping` are those of the settings, which hold until a version comes."""
        self._settings = edge, keeping
        self._offset_base = offset_base
        self._by_version: dict[int, By] = {}
        self._came: dict[int, list[tuple[int, int]]] = {}
        """By partition: offset and version, in their order."""
        self._everywhere = 0
        """The newest version that came before the present topic or number of partitions."""
        self.newest: By = self._settings
        """Of rows that are of no place on `sdk-events`."""

    def at(self, partition: int, offset: int) -> By:
        """What holds for a record at an offset, as it is stored."""
        version = self._everywhere
        for at, came in self._came.get(partition, ()):
            if at < offset:
                version = max(version, came)
        return self._by_version.get(version, self._settings)

    def take(self, partition: int, offset: int, document: PolicyDocument) -> None:
        """Go by a version from a place on."""
        version = document.version
        if version not in self._by_version:
            edge, keeping = self._settings
            self._by_version[version] = (
                edge.under(document),
                replace(keeping, retentions=document.retentions),
            )
            self.newest = self._by_version[max(self._by_version)]
        if offset < self._offset_base:
            self._everywhere = max(self._everywhere, version)
        came = self._came.setdefault(partition, [])
        if (offset, version) not in came:
            came.append((offset, version))

    def learn(self, stored: Iterable[StoredVersion]) -> None:
        """Take what is stored of versions."""
        for each in stored:
            if document := document_of(each.document):
                self.take(each.partition, each.offset, document)

    def came(self, partition: int, offset: int, value: bytes | None, record_ms: int) -> bytes | None:
        """Go by what a record brings from there on: the row of it. None if it cannot be read."""
        document = document_of(value)
        if document is None:
            return None
        self.take(partition, offset, document)
        return policy_version_row(
            document.version,
            partition,
            offset,
            from_ms=document.from_ms,
            document=control(document),
            published_ms=record_ms,
        )

    def by(self, partition: int, offset: int, metrics: Metrics) -> tuple[Edge, Keeping, LeftOut, bool]:
        """What holds at a place, and which records are left out under it, if any may be."""
        edge, keeping = self.at(partition, offset)
        left_out = LeftOut(edge, keeping, metrics)
        return edge, keeping, left_out, left_out.may_be_some

    def take_told(self, making: Making, record: Any, offset: int, left_out: LeftOut) -> bool:
        """Take what a record tells that is not an envelope: a version, or an erasure. Whether it tells anything."""
        if not is_control(record.key, record.value):
            row = left_out.told(making.source, record, offset)
        elif came := self.came(making.source.partition, offset, record.value, record.timestamp):
            making.policies.append(came)
            row = ledger_row(*making.source, offset, received=0, refused=0, kept=EVER)
        else:
            row = None
        if row:
            making.ledger.append(row)
        return bool(row)


def learning(
    store: Store,
    policies: PoliciesByPlace,
    begin: StartOffsets,
) -> StartOffsets:
    """A hook as `begin`, which first learns what is stored of versions. Waits while ClickHouse does not answer."""

    async def check(assigned: set[TP]) -> Mapping[TP, int]:
        said = Seldom(log)
        while True:
            try:
                policies.learn(await asyncio.to_thread(stored_versions, store))
                break
            except (Unreachable, StatementFailed) as error:
                said.warn(f"waiting for ClickHouse, to learn the versions of the policies: {error}")
            await asyncio.sleep(_RETRY_S)
        return await begin(assigned)

    return check
