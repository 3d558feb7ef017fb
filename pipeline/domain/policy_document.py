"""The policies of all apps as they are published: one version of all that single apps can have of their own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pipeline.domain.policy import DatedPolicy, Policies, Policy
from pipeline.domain.privacy import Privacy, Samplings
from pipeline.domain.retention import Retentions


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """One version. Plain data."""

    version: int
    """Grows from one to the next; from 1 on."""
    from_ms: int
    """Events from this time on are folded under it, Unix milliseconds."""
    policies: Policies = field(default_factory=Policies)
    retentions: Retentions = field(default_factory=Retentions)
    samplings: Samplings = field(default_factory=Samplings)
    privacy: Privacy = field(default_factory=Privacy)

    def same_as(self, other: PolicyDocument) -> bool:
        """Whether they say the same, of whatever version and time."""
        return replace(self, version=0, from_ms=0) == replace(other, version=0, from_ms=0)

    @property
    def apps(self) -> set[str]:
        """The apps that have something of their own."""
        return {
            *self.policies.by_app,
            *self.retentions.by_app,
            *self.samplings.by_app,
            *self.privacy.by_app,
        }


@dataclass(frozen=True, slots=True)
class Came:
    """A version that came with a record of a partition."""

    offset: int
    """As it is stored; -1 where it does not matter."""
    document: PolicyDocument


def dated(came: tuple[Came, ...], app_id: str) -> DatedPolicy:
    """The policy of an app under all versions that came, in their order. There is at least one.

    Events from before the first version are folded under its numbers, too: what held then is nowhere written down.
    """
    policy: Policy = came[0].document.policies.of(app_id)
    for each in came:
        document = each.document
        policy = dated_policy(document.policies.of(app_id), document, each.offset, policy)
    assert isinstance(policy, DatedPolicy), "there is a version"
    return policy


def dated_policy(numbers: Policy, document: PolicyDocument, came_at: int, before: Policy) -> DatedPolicy:
    """Numbers of a version, and what was before it."""
    values = {name: getattr(numbers, name) for name in Policy.__dataclass_fields__}
    return DatedPolicy(
        **values, version=document.version, from_ms=document.from_ms, came_at=came_at, before=before
    )


@dataclass(frozen=True, slots=True)
class DatedPolicies(Policies):
    """The policies of apps under several versions; `default` and `by_app` are those of the newest."""

    came: tuple[Came, ...] = ()

    def of(self, app_id: str) -> Policy:
        """The policy that holds for an app."""
        return dated(self.came, app_id)


def all_versions(documents: tuple[PolicyDocument, ...]) -> DatedPolicies:
    """The policies under all versions, in their order, wherever they came. There is at least one."""
    newest = documents[-1].policies
    return DatedPolicies(newest.default, newest.by_app, tuple(Came(-1, document) for document in documents))
