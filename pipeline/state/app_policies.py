"""The policies of apps, by the keys of their devices."""

from __future__ import annotations

from pipeline.domain.policy import DatedPolicy, Policies, Policy, version_at
from pipeline.domain.policy_document import Came, DatedPolicies, dated_policy
from pipeline.state.codec import step_codec
from pipeline.state.failures import UnknownPolicies


class AppPolicies:
    """Policies as steps need them: with their encoded form, made once an app."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self._came: tuple[Came, ...] = policies.came if isinstance(policies, DatedPolicies) else ()
        self._found: dict[bytes, tuple[Policy, bytes]] = {}
        self._of_default: tuple[Policy, bytes] | None = None
        self._with_versions: dict[int, bytes] = {}
        """By the identity of a policy that is kept here."""

    def of(self, key: bytes) -> tuple[Policy, bytes]:
        """The policy of the app of a device (`app_id/device_id`), and the same encoded."""
        app = key[: key.index(b"/")]
        found = self._found.get(app)
        if found is None:
            found = self._found[app] = self._made(app.decode())
        return found

    def with_versions(self, key: bytes) -> bytes:
        """The same encoded for the compiled core: with all versions."""
        policy, encoded = self.of(key)
        if not self._came:
            return encoded
        found = self._with_versions.get(id(policy))
        if found is None:
            found = self._with_versions[id(policy)] = encoded + step_codec.encode_versions(policy)
        return found

    def of_version(self, key: bytes, version: int) -> Policy | None:
        """The policy of a device's app as it was when a version was the newest; None if that is so old that it is not
        remembered. Raises `UnknownPolicies`."""
        if self._came and version < self._came[0].document.version:
            return None
        policy, _ = self.of(key)
        while isinstance(policy, DatedPolicy):
            if policy.version == version:
                return policy
            policy = policy.before or Policy()
        raise UnknownPolicies(
            f"steps that were folded under policies of version {version}, which are not there"
        )

    def version_of(self, key: bytes, started_at_ms: int, reach: int) -> int:
        """The version under which a session of a device counts, as was known by the offset `reach`; 0: none."""
        return version_at(self.of(key)[0], started_at_ms, reach) if self._came else 0

    def _made(self, app_id: str) -> tuple[Policy, bytes]:
        if not self._came:
            policy = self._policies.of(app_id)
            return policy, step_codec.encode_policy(policy)
        if any(app_id in each.document.policies.by_app for each in self._came):
            return self._dated(app_id)
        if self._of_default is None:
            # All apps that have nothing of their own share it.
            self._of_default = self._dated(app_id)
        return self._of_default

    def _dated(self, app_id: str) -> tuple[Policy, bytes]:
        """The chain of versions. Encoded it has the first version since which nothing has changed for the app: states
        are not written anew for what is of others."""
        numbers = self._came[0].document.policies.of(app_id)
        policy, since, from_ms = numbers, self._came[0].document.version, self._came[0].document.from_ms
        for offset, document in ((each.offset, each.document) for each in self._came):
            now = document.policies.of(app_id)
            if now != numbers or document.from_ms < from_ms:
                since = document.version
            numbers, from_ms = now, document.from_ms
            policy = dated_policy(now, document, offset, policy)
        return policy, step_codec.encode_policy(policy, since)
