"""The versions of policies that came to a partition: its own entry in the table, written before any state is folded
under a new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pipeline.domain.policy import Policies
from pipeline.domain.policy_document import Came, DatedPolicies
from pipeline.formats.edge import Edge
from pipeline.formats.policy_record import control, document_of, is_control, remembered
from pipeline.state.app_policies import AppPolicies

POLICIES_KEY = b"\0policies"
"""Key of the entry. A program that knows no versions says that a newer one wrote it, and stops."""


class _Entry(msgspec.Struct, array_like=True, frozen=True):
    """It begins as a marker does: which of two counts follows from the offset (`marker.newer`)."""

    came_at: int
    """Offset of the record that brought the newest."""
    version: int
    """The newest."""
    text: str
    """Of all that are remembered, in their order: offset and value of their records, in JSON."""


_text = msgspec.json.Decoder(list[tuple[int, msgspec.Raw]]).decode


def entry_of(came: tuple[Came, ...]) -> tuple[bytes, bytes]:
    """The partition's entry."""
    text = msgspec.json.encode([(each.offset, msgspec.Raw(control(each.document))) for each in came]).decode()
    newest = came[-1]
    return POLICIES_KEY, msgspec.msgpack.encode(_Entry(newest.offset, newest.document.version, text))


def came_in(items: Mapping[bytes, bytes]) -> tuple[Came, ...]:
    """The versions that a partition's entries hold, in their order. Raises `msgspec.DecodeError`."""
    value = items.get(POLICIES_KEY)
    if value is None:
        return ()
    found = []
    for offset, text in _text(msgspec.msgpack.decode(value, type=_Entry).text):
        document = document_of(bytes(text))
        if document is None:
            raise msgspec.DecodeError("damaged policies")
        found.append(Came(offset, document))
    return tuple(found)


def first_policies(fields: Sequence[Any]) -> int | None:
    """The offset of the first record that may bring policies, among the records without a key of a chunk (`Fields`)."""
    return next((fields[at] for at in range(0, len(fields), 4) if is_control(None, fields[at + 2])), None)


def latest_of(came: tuple[Came, ...], more: Came) -> tuple[Came, ...]:
    """Versions and one more; the same where that is none that is newer."""
    if came and more.document.version <= came[-1].document.version:
        return came
    every = (*came, more)
    return every[-remembered([each.document for each in every]) :]


def version_in(entry: bytes) -> int:
    """The newest version in the value of an entry. Raises `msgspec.DecodeError`."""
    return msgspec.msgpack.decode(entry, type=_Entry).version


def policies_of(came: tuple[Came, ...], settings: Policies) -> Policies:
    """The policies under these versions; those of the settings where there is none."""
    if not came:
        return settings
    newest = came[-1].document.policies
    return DatedPolicies(newest.default, newest.by_app, came)


class InForce:
    """What a partition goes by: the settings until a version comes, and from then on the versions. Pure, but for what
    is remembered of single apps."""

    def __init__(self, settings: Policies, edge: Edge, came: tuple[Came, ...] = ()) -> None:
        """`edge` is that of the settings."""
        self._settings = settings
        self._edge = edge
        self.came = came
        self.apps = AppPolicies(policies_of(came, settings))
        self._edges = {each.document.version: edge.under(each.document) for each in came[-1:]}

    @property
    def version(self) -> int:
        """The newest version; 0 if none came."""
        return self.came[-1].document.version if self.came else 0

    @property
    def edge(self) -> Edge:
        """What comes in by now."""
        return self._edges[self.version] if self.came else self._edge

    def edge_at(self, offset: int) -> Edge:
        """What came in at an offset, as it is stored: what comes again has to be taken as it was taken first."""
        for each in reversed(self.came):
            if each.offset < offset:
                version = each.document.version
                if version not in self._edges:
                    self._edges[version] = self._edge.under(each.document)
                return self._edges[version]
        return self._edge

    def with_record(self, offset: int, value: bytes | None) -> InForce | None:
        """The same after a record that brings policies; itself if it has them, None if they cannot be read."""
        document = document_of(value)
        if document is None:
            return None
        came = latest_of(self.came, Came(offset, document))
        return self if came is self.came else self.after(came)

    def after(self, came: tuple[Came, ...]) -> InForce:
        """The same once these came."""
        return InForce(self._settings, self._edge, came)
