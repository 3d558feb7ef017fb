"""The versions of the policies that were published, and how settings differ from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pipeline.clickhouse.policy_versions import StoredVersion, stored_versions
from pipeline.clickhouse.store import Store
from pipeline.domain.policy import ALWAYS_MS, Policies
from pipeline.domain.policy_document import Came, PolicyDocument, all_versions
from pipeline.domain.privacy import Privacy, Samplings
from pipeline.domain.retention import Retentions
from pipeline.errors import Terminal
from pipeline.formats.policy_record import document_of, remembered
from pipeline.state.policy_versions import entry_of


class RefusedPolicies(Terminal):
    """Settings that cannot be published, since their version says something else already, or is an old one."""


class Published:
    """What the topic `policies` told so far. Not for several threads."""

    def __init__(self) -> None:
        self._by_version: dict[int, PolicyDocument] = {}

    def read(self, values: Iterable[bytes]) -> int:
        """Take the values of the topic; how many of them are none."""
        unread = 0
        for value in values:
            if document := document_of(value):
                self._by_version[document.version] = document
            else:
                unread += 1
        return unread

    @property
    def versions(self) -> list[PolicyDocument]:
        """All, in their order."""
        return [self._by_version[version] for version in sorted(self._by_version)]

    @property
    def newest(self) -> PolicyDocument | None:
        """The newest; None if none was published."""
        return self._by_version[max(self._by_version)] if self._by_version else None

    def difference(self, settings: PolicyDocument) -> str:
        """How settings differ from what was published; empty if they do not."""
        newest = self.newest
        if newest is None or (newest.version == settings.version and newest.same_as(settings)):
            return ""
        if newest.version == settings.version:
            return (
                f"the policies of these settings are not those that were published as version {newest.version}, by "
                "which the workers go: raise policy_version and publish them, or set what was published "
                "(session-pipeline policies show)"
            )
        return (
            f"these settings have policies of version {settings.version}, and the workers go by version "
            f"{newest.version}, which was published: "
            + (
                "session-pipeline policies publish makes them go over"
                if settings.version > newest.version
                else "give this program the newer file"
            )
        )

    def to_publish(self, settings: PolicyDocument) -> PolicyDocument:
        """What publishing these settings comes to: themselves, or the very same that was published before. Raises
        `RefusedPolicies`."""
        newest = self.newest
        if settings.version < 1:
            raise RefusedPolicies(
                "the settings have no policy_version: set it to 1 or more, and raise it with each change"
            )
        if newest is None or settings.version > newest.version:
            return settings
        if settings.version < newest.version:
            raise RefusedPolicies(
                f"policy_version {settings.version} goes back: version {newest.version} is published. To take "
                f"that back, publish what was before as version {newest.version + 1}"
            )
        if not newest.same_as(settings):
            raise RefusedPolicies(
                f"version {newest.version} is published already and says something else "
                f"({', '.join(changed(newest, settings))}): raise policy_version to {newest.version + 1}"
            )
        return newest


def changed(before: PolicyDocument, after: PolicyDocument) -> list[str]:
    """Of which apps two versions say something else: `default`, or the app."""
    found = []
    parts = ("policies", "retentions", "samplings", "privacy")
    if any(getattr(before, part).default != getattr(after, part).default for part in parts):
        found.append("default")
    for app_id in sorted(before.apps | after.apps):
        if any(
            getattr(before, part).by_app.get(app_id) != getattr(after, part).by_app.get(app_id)
            for part in parts
        ):
            found.append(app_id)
    return found


def came_to(stored: Sequence[StoredVersion], partition: int, offset_base: int) -> tuple[Came, ...]:
    """The versions that came to a partition, in their order; those from before the base came to all of them."""
    found: dict[int, Came] = {}
    for each in stored:
        if each.partition == partition or each.offset < offset_base:
            document = document_of(each.document)
            if document and (each.version not in found or each.partition == partition):
                found[each.version] = Came(each.offset, document)
    every = [found[version] for version in sorted(found)]
    return tuple(every[-remembered([each.document for each in every]) :]) if every else ()


def documents_of(stored: Iterable[StoredVersion]) -> tuple[PolicyDocument, ...]:
    """All versions that are remembered, in their order, wherever they came."""
    found = {each.version: document for each in stored if (document := document_of(each.document))}
    every = [found[version] for version in sorted(found)]
    return tuple(every[-remembered(every) :]) if every else ()


def document_with(
    version: int, policies: Policies, retentions: Retentions, samplings: Samplings, privacy: Privacy
) -> PolicyDocument:
    """A version that was not published."""
    return PolicyDocument(version, ALWAYS_MS, policies, retentions, samplings, privacy)


def parts_in_force(store: Store) -> dict[str, Any]:
    """Settings by name, as the newest version has them that ClickHouse knows, with what held before; none if there is
    no version. Blocks; raises what the store raises."""
    versions = documents_of(stored_versions(store))
    if not versions:
        return {}
    newest = versions[-1]
    return {
        "policy_version": newest.version,
        "policies": all_versions(versions),
        "retentions": newest.retentions,
        "samplings": newest.samplings,
        "privacy": newest.privacy,
    }


def entries_of(
    stored: Sequence[StoredVersion], partitions: int, offset_base: int
) -> Iterator[tuple[int, tuple[bytes, bytes]]]:
    """The entries of partitions that versions came to, for the changelog."""
    for number in range(partitions):
        if came := came_to(stored, number, offset_base):
            yield number, entry_of(came)
