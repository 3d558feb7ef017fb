"""Whose events they are: what a native envelope says before its list of events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pipeline.errors import Terminal
from pipeline.formats import native
from pipeline.formats.envelope import VERSION
from pipeline.formats.limits import MAX_RECORD_BYTES
from pipeline.formats.native.key import key_of
from pipeline.formats.rejected import Rejected
from pipeline.sdk.encoding import NotJson, encoded

_SENT_AT = b',"sent_at":%d,"events":['
_TAIL = b"]}"
_LONGEST_SENT_AT = len(_SENT_AT % 10**13)


class Refused(Terminal):
    """The pipeline would not accept this device, its resource or its user. `rejected` says why."""

    def __init__(self, rejected: Rejected) -> None:
        super().__init__(f"{rejected.reason.value}: {rejected.detail}")
        self.rejected = rejected


class User(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who is signed in."""

    id: str = ""
    personas: Sequence[str] = ()
    properties: Mapping[str, Any] | None = None


class SdkDevice:
    """One installation of an app, with its resource and user as they are now. Immutable; any producer takes it.

    `head` is the envelope's JSON up to `sent_at`.

    Another resource or user is another one of the same ids. Raises `Refused` for what the pipeline would refuse.
    """

    __slots__ = ("app_id", "device_id", "head", "key", "room")

    def __init__(
        self,
        app_id: str,
        device_id: str,
        *,
        resource: Mapping[str, Any] | None = None,
        user: User | None = None,
    ) -> None:
        said: dict[str, Any] = {"v": VERSION, "app_id": app_id, "device_id": device_id}
        if resource:
            said["resource"] = resource
        if user is not None:
            said["user"] = user
        self.app_id, self.device_id = app_id, device_id
        try:
            self.head = encoded(said)[:-1]
        except NotJson as error:
            raise Refused(error.rejected) from error
        self.room = MAX_RECORD_BYTES - len(self.head) - _LONGEST_SENT_AT - len(_TAIL)
        """Bytes of a record that are left for events, and the commas between them."""
        self.key = key_of(self.head + b"}") or b""
        """Of its records."""
        self._check()

    def envelope(self, payloads: Sequence[bytes], sent_at_ms: int) -> bytes:
        """The native envelope of these events (JSON each), sent at this Unix time in milliseconds."""
        return self.head + _SENT_AT % sent_at_ms + b",".join(payloads) + _TAIL

    def _check(self) -> None:
        judged = native.decode(self.envelope([_SOUND_EVENT], _SOUND_MS), self.key, _SOUND_MS)
        if not isinstance(judged, native.Envelope):
            raise Refused(judged)

    def __repr__(self) -> str:
        return f"Device({self.app_id!r}, {self.device_id!r})"


_SOUND_MS = 1_742_296_591_764
_SOUND_EVENT = b'{"id":"1","name":"check","time":%d}' % _SOUND_MS
