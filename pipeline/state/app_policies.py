"""The policies of apps, by the keys of their devices."""

from __future__ import annotations

from pipeline.domain.policy import Policies, Policy
from pipeline.state.codec import step_codec


class AppPolicies:
    """Policies as steps need them: with their encoded form, made once an app."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self._found: dict[bytes, tuple[Policy, bytes]] = {}

    def of(self, key: bytes) -> tuple[Policy, bytes]:
        """The policy of the app of a device (`app_id/device_id`), and the same encoded."""
        app = key[: key.index(b"/")]
        found = self._found.get(app)
        if found is None:
            policy = self._policies.of(app.decode())
            found = self._found[app] = policy, step_codec.encode_policy(policy)
        return found
