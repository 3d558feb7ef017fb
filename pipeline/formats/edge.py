"""What of the input comes in at all: the privacy rules and the sampling of each app, and what was erased, by the keys
of records.

Every role has the same one, made of the same settings: so they agree on each record.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import msgspec

from pipeline import topics
from pipeline.domain.policy_document import PolicyDocument
from pipeline.domain.privacy import Privacy, Rules, Samplings
from pipeline.formats import registry
from pipeline.formats.body_cleaner import BodyCleaner
from pipeline.formats.bounded_cache import BoundedCache, SharedBound
from pipeline.formats.erasure import Erasures
from pipeline.formats.identity import KEPT_BYTES
from pipeline.formats.native.cleaner import NOT_STRICT, Cleaner
from pipeline.formats.native.key import app_of, key_of
from pipeline.formats.native.routed import told
from pipeline.formats.privacy.walk import TooLong
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.strict_json import parse

_ALL_APPS_BYTES = 40_000_000
"""Of the rules of single apps, compiled, and of the resources and users that they have cleaned: of all apps together,
however many there are, besides those that share the default (`KEPT_BYTES`)."""
_NATIVE = (topics.SDK_EVENTS, "native-events")
_TOO_MUCH = (Reason.RESOURCE_TOO_LARGE, Reason.TOO_MANY_PROPERTIES, Reason.PROPERTY_TOO_LONG)
_KEPT_UNDER_APP = "embrace-events"
"""Its refused records are kept under `app/device`."""
_SAY_APP = (b"app_ecosystem_id", b"app_bundle_id", b"resourceSpans", b"resourceLogs", b"resource_", b"\\u")
"""Where a body of it may say another app than its headers do, by itself or by the resources of OTLP."""


class _Events(msgspec.Struct):
    events: list[msgspec.Raw]


_events = msgspec.json.Decoder(_Events).decode


class Edge:
    """The rules and rates of all apps, and what was erased. Pure, but for what it remembers."""

    def __init__(self, privacy: Privacy, samplings: Samplings, secret: str = "") -> None:
        self._secret = secret
        self.erasures = Erasures()
        """Whoever finds out about one adds it."""
        self.become(privacy, samplings)

    def become(self, privacy: Privacy, samplings: Samplings) -> None:
        """From now on go by these."""
        self._privacy = privacy
        self._samplings = samplings
        self._default: Cleaner | None = None
        if not privacy.default.needs_secret:
            # All apps share it, and what it remembers.
            self._default = Cleaner(privacy.default, kept_bytes=KEPT_BYTES)
        self._bound = SharedBound(_ALL_APPS_BYTES)
        self._cleaners = BoundedCache(self._made, lambda cleaner: cleaner.byte_count, self._bound)
        self._of_all = tuple(
            Cleaner(rules, "", self._secret, kept_bytes=self._bound) for rules in privacy.of_all()
        )
        self.only = self._default if not privacy.by_app else None
        """The rules of all apps; None where they differ, or hash."""
        self.samples = any(each.sample_rate < 1 for each in (samplings.default, *samplings.by_app.values()))
        """Whether any app has a rate below 1."""

    def alike(self) -> Edge:
        """Another of the same, to become something else; what was erased they share."""
        other = Edge(self._privacy, self._samplings, self._secret)
        other.erasures = self.erasures
        return other

    def under(self, document: PolicyDocument) -> Edge:
        """The same under a version of the policies; what was erased they share."""
        other = Edge(document.privacy, document.samplings, self._secret)
        other.erasures = self.erasures
        return other

    def cleaner_of(self, key: bytes | None) -> Cleaner:
        """The rules of the app of a record's key; the default's where it names none."""
        if self.only is not None:
            return self.only
        return self._cleaner(app_of(key))

    def is_out(self, key: bytes | None) -> bool:
        """Whether the device of a record's key is not among those of which anything is kept.

        A device is in if BLAKE2b of its key (`app_id/device_id` in UTF-8) with a digest of 8 bytes, read as a number
        with the highest byte first, is below the rate of its app times 2 to the 64. So it stays in at higher rates.
        """
        if not self.samples or key is None:
            return False
        rate = self.rate_of(app_of(key))
        return rate < 1 and int.from_bytes(blake2b(key, digest_size=8).digest()) >= rate * 2.0**64

    def out_of(self, keys: Iterable[bytes | None]) -> list[bytes | None]:
        """Those of some keys whose devices are out."""
        return [key for key in keys if self.is_out(key)] if self.samples else []

    def rate_of(self, app_id: str) -> float:
        """The share of an app's devices that are kept, over 0 and at most 1."""
        return self._samplings.of(app_id).sample_rate

    def cleaned(self, key: bytes, value: bytes) -> bytes:
        """A record for `sdk-events` as its rules leave it; the same bytes where they have nothing to do. What cannot
        be read at all is left as it is: it is refused."""
        made = _cleaned(self.cleaner_of(key), value)
        return value if made is None else made

    def shrunk(self, topic: str, value: bytes | None, fault: Rejected) -> bytes | None:
        """What the rules leave of a native envelope that was refused whole, if that may be taken: it was too much of
        something that they may drop, and they do. None otherwise. On `sdk-events` the rules come first, and this is
        how they do before it."""
        key = key_of(value) if value and topic in _NATIVE and fault.reason in _TOO_MUCH else None
        if key is None or value is None:
            return None
        made = self.cleaned(key, value)
        return made if made != value else None

    def refused(self, topic: str, key: bytes | None, value: bytes | None) -> bytes | None:
        """What is kept of the bytes of a refused record, or of a part of it, by the rules of its app; by those of all
        apps where that is not known. None if the rules may name something in it and it cannot be read. Never raises
        because of them, and takes no longer than seconds."""
        if not value:
            return value
        app_id = _app_of(topic, key, value)
        cleaners = self._of_all if app_id is None else (self._cleaner(app_id),)
        body = BodyCleaner(cleaners)
        try:
            if topic in _NATIVE:
                made = _native(cleaners, value)
            else:
                format = next((each for each in registry.FORMATS if each.topic == topic), None)
                made = body.json(value) if format is None else format.cleaned(value, body)
        except TooLong:
            made = None
        return body.opaque(value) if made is None else made

    def _cleaner(self, app_id: str) -> Cleaner:
        rules = self._privacy.of(app_id)
        if self._default is not None and rules is self._privacy.default:
            return self._default
        return self._cleaners[app_id]

    def _made(self, app_id: str) -> Cleaner:
        return Cleaner(self._privacy.of(app_id), app_id, self._secret, kept_bytes=self._bound)


def _app_of(topic: str, key: bytes | None, value: bytes) -> str | None:
    """The app that a refused record is of, None if that cannot be told: not everyone's key says it, and a body may say
    it by parts, or not at all."""
    of_key = key if key and b"/" in key else None
    if topic in _NATIVE:
        of_key = of_key if topic == topics.SDK_EVENTS else None
        found = {each.partition(b"/")[0] for each in (key_of(value), of_key) if each is not None}
    elif topic == _KEPT_UNDER_APP and of_key and not any(name in value for name in _SAY_APP):
        found = {of_key.partition(b"/")[0]}
    else:
        return None
    return found.pop().decode("utf-8", "replace") if len(found) == 1 else None


def _native(cleaners: Sequence[Cleaner], value: bytes) -> bytes | None:
    """What several rules leave of a refused envelope; None if it cannot be read."""
    made = value
    for cleaner in cleaners:
        tree = parse(made, None)
        if isinstance(tree, Rejected):
            mended = _mended(cleaner, made)
            if mended is None:
                return None
            made = mended
        # What nobody knows of it is kept as well, so nothing that is named may be there either.
        elif cleaner.anything(tree) != tree or not cleaner.leaves(made):
            made = cleaner.record(made)
    return made


def _cleaned(cleaner: Cleaner, value: bytes) -> bytes | None:
    """As the rules leave it; None if it cannot be read."""
    if cleaner.leaves(value):
        return value
    return _mended(cleaner, value) if isinstance(parse(value, None), Rejected) else cleaner.record(value)


def _mended(cleaner: Cleaner, value: bytes) -> bytes | None:
    try:
        mended = told(value)
        return None if mended is None else cleaner.record(mended)
    except NOT_STRICT:
        return None


def events_in(value: bytes | None) -> int:
    """How many events a record holds, without looking at them; 1 where that is not known."""
    try:
        return len(_events(value or b"").events) or 1
    except NOT_STRICT:
        return 1


OPEN_EDGE = Edge(Privacy(Rules(keep=("*",))), Samplings())
"""Lets everything in as it is."""
