"""What is published of policies: a version of them, as a record among the events and as an entry of a list.

`session-pipeline policies publish` puts the record, without a key, into each partition of `sdk-events`: from there on
who reads the partition goes by that version. The same value stands in the topic `policies`, under the number of the
version, for those who do not read `sdk-events`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, TypeVar

import msgspec

from pipeline.domain.policy import Policies, Policy
from pipeline.domain.policy_document import PolicyDocument
from pipeline.domain.privacy import Privacy, Rules, Sampling, Samplings
from pipeline.domain.retention import Retention, Retentions
from pipeline.formats.native.cleaner import NOT_STRICT

_BEGINS = b'{"policies":'
"""No envelope begins so: `policies` is none of its fields."""
MOST_VERSIONS = 100
MOST_BYTES = 800_000
"""Of all versions that are remembered: they have to fit a record of the changelog."""
LARGEST_BYTES = 400_000
"""Of one version."""
LAST_VERSION = 2**32 - 1


class _Parts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an app has of its own; of the default all of it is there."""

    policy: Policy | None = None
    retention: Retention | None = None
    sampling: Sampling | None = None
    privacy: Rules | None = None


class _Document(msgspec.Struct, frozen=True):
    version: Annotated[int, msgspec.Meta(ge=1, le=LAST_VERSION)]
    from_ms: Annotated[int, msgspec.Meta(ge=-(1 << 62), le=1 << 62)]
    default: _Parts
    apps: dict[str, _Parts] = {}


class _Control(msgspec.Struct, frozen=True):
    policies: _Document


_T = TypeVar("_T")
_read = msgspec.json.Decoder(_Control).decode
_write = msgspec.json.Encoder(order="deterministic").encode


def control(document: PolicyDocument) -> bytes:
    """The value of the record. The same document gives the same bytes."""
    parts = {
        app_id: _Parts(
            document.policies.by_app.get(app_id),
            document.retentions.by_app.get(app_id),
            document.samplings.by_app.get(app_id),
            document.privacy.by_app.get(app_id),
        )
        for app_id in sorted(document.apps)
    }
    default = _Parts(
        document.policies.default,
        document.retentions.default,
        document.samplings.default,
        document.privacy.default,
    )
    return _write(_Control(_Document(document.version, document.from_ms, default, parts)))


def is_control(key: bytes | None, value: bytes | None) -> bool:
    """Whether a record of `sdk-events` looks like one that brings policies."""
    return key is None and value is not None and value.startswith(_BEGINS)


def document_of(value: bytes | None) -> PolicyDocument | None:
    """The version that the value of such a record brings; None if it cannot be read."""
    try:
        found = _read(value or b"").policies
    except NOT_STRICT:
        return None
    default, apps = found.default, found.apps
    return PolicyDocument(
        found.version,
        found.from_ms,
        Policies(default.policy or Policy(), _own({app: own.policy for app, own in apps.items()})),
        Retentions(default.retention or Retention(), _own({app: own.retention for app, own in apps.items()})),
        Samplings(default.sampling or Sampling(), _own({app: own.sampling for app, own in apps.items()})),
        Privacy(default.privacy or Rules(), _own({app: own.privacy for app, own in apps.items()})),
    )


def _own(parts: Mapping[str, _T | None]) -> dict[str, _T]:
    return {app: own for app, own in parts.items() if own is not None}


def remembered(documents: Iterable[PolicyDocument]) -> int:
    """How many of the latest of some versions, given in their order, are remembered: at least one.

    Whoever forgets the oldest comes to the same as who knows all and forgets as many: so all go by the same ones.
    """
    count = size = 0
    for document in reversed(list(documents)):
        size += len(control(document))
        if count and (count == MOST_VERSIONS or size > MOST_BYTES):
            break
        count += 1
    return count
