"""The privacy rules of an app on native envelopes: on their bytes, and on their parts as they are read.

Applied twice they give the same as once. So the router may write what the sink and the sessionizer clean again, and
whether a record went through the router makes no difference to what is stored of it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
import orjson

from pipeline.domain.privacy import KEEP, Rules
from pipeline.errors import Terminal
from pipeline.formats.bounded_cache import BoundedCache, SharedBound
from pipeline.formats.identity import canonical_resource, canonical_user
from pipeline.formats.limits import (
    MAX_NESTING,
    MAX_PROPERTY_VALUE_CHARS,
    MAX_RECORD_BYTES,
    MAX_RESOURCE_BYTES,
)
from pipeline.formats.meaning import STATED
from pipeline.formats.privacy.walk import (
    ATTRIBUTES,
    DROPPED,
    LIKE_USERS,
    PROPERTIES,
    RESOURCE,
    USER_IDS,
    Scope,
    Walk,
)
from pipeline.formats.rejected import Rejected
from pipeline.formats.strict_json import dumps, parse

_OF_ENVELOPE = frozenset(("v", "app_id", "device_id", "batch_id", "sent_at", "resource", "user", "events"))
_OF_EVENT = frozenset(("id", "name", "time", "seq", "session_id", "attributes", "raw_time", "repaired"))
_NOTHING = (b"", b"null")
_UNFIT = b'["***"]'
"""In place of what has another shape than it must have: it is refused as that was."""
_NO_LIST = msgspec.Raw(b'"***"')
"""The same, of what must be a list."""
_ESCAPED = re.compile(rb"\\u00([2-7][0-9a-fA-F])")
_ENDS_NAME = rb"(?:\\*\"|\x12)"
"""What follows the name of a member: in JSON (also in a text of JSON) a quote, in protobuf the tag of its value."""
_PARENTS = re.compile(
    rb"(?:user[a-z0-9_.-]{0,64}|\b(?:%b))%b" % ("|".join(sorted(LIKE_USERS)).encode(), _ENDS_NAME)
)
"""In lower case, what names an object of a user's."""
_CACHED_BYTES = 4_096
_KEPT_BYTES = 1_000_000
_OWN_BYTES, _PATTERN_BYTES = 10_000, 1_000

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class _Head(msgspec.Struct):
    user: msgspec.Raw = msgspec.Raw(b"")


_head = msgspec.json.Decoder(_Head).decode

Canonical = Callable[[bytes], "str | Rejected"]

NOT_STRICT = (msgspec.DecodeError, orjson.JSONDecodeError, UnicodeDecodeError, RecursionError)
"""What readers of single parts of a record raise of what is not strict JSON, or of another shape."""


class HoldsPrivate(Terminal):
    """An event has an attribute that the rules may name: its record is to be cleaned first."""


class Watched(NamedTuple):
    """Names that are looked for among the attributes of every event."""

    names: frozenset[str] = STATED
    """All of them."""
    private: frozenset[str] = frozenset()
    """Those of which the rules may have something to say."""


UNWATCHED = Watched()


class Cleaner:
    """The rules of one app, or of all that have the same and hash nothing. Pure, but for what it remembers."""

    def __init__(
        self,
        rules: Rules,
        app_id: str = "",
        secret: str = "",
        *,
        kept_bytes: int | SharedBound = _KEPT_BYTES,
    ) -> None:
        """Of resources, and of users, at most `kept_bytes` are remembered; of both, where the bound is shared."""
        self._walk = walk = Walk(rules, app_id, secret)
        names = walk.left_out
        if rules.user_id != KEEP:
            names |= USER_IDS
        if names:
            # Their members have these names, too.
            names |= {name.partition(".")[0] for name in names}
        self.watched = Watched(STATED | names, names)
        whole = {name for name in names if "." in name}
        self._whole_names = _named(whole, rb"(?![a-z0-9_])")
        self._own_names = _named({name.partition(".")[2] for name in whole}, _ENDS_NAME)
        self._signs = None if rules.addresses != KEEP else _signs(walk)
        self.has_own = not walk.is_only_built_in
        """Whether the app has rules besides the built-in ones: `first` is for these."""
        self.is_idle = not names and not self.has_own
        """Whether everything stays as it came."""
        # Not methods: these are called for every record.
        self.resource: Canonical = canonical_resource if self.is_idle else self._resource_kept
        """As `canonical_resource`, of what the rules leave."""
        self.user: Canonical = canonical_user if self.is_idle else self._user_kept
        """As `canonical_user`, of what the rules leave."""
        self.byte_count = _OWN_BYTES + _PATTERN_BYTES * (
            len(rules.keep) + len(rules.drop) + len(rules.hash) + len(rules.mask)
        )
        """About what it takes besides what it remembers: its rules, compiled."""
        self._resources = BoundedCache(self._resource, sys.getsizeof, kept_bytes)
        self._users = BoundedCache(self._user, sys.getsizeof, kept_bytes)

    def first(self, value: bytes | None) -> bytes | None:
        """A record before its events are read: cleaned where rules of the app's own may name something in it.

        What `parse` does not take stays as it is: it is cleaned once it is mended, or refused by whoever reads it,
        for what it is and not for what the rules would leave of it.
        """
        if not value or not self.has_own or len(value) > MAX_RECORD_BYTES or not self._shows(value):
            return value
        return value if isinstance(parse(value, MAX_RECORD_BYTES), Rejected) else self.record(value)

    def leaves(self, value: bytes) -> bool:
        """Whether the rules surely have nothing to do in a record; quick where that is so."""
        if self.has_own and self._shows(value):
            return False
        if not self.watched.private:
            return True
        if b"user." in value or b"\\u" in value:
            return False
        count = value.count(b'user"')
        if count != 1:
            return not count
        try:
            user = bytes(_head(value).user)
            if not user or user.count(b"{") + user.count(b"[") > MAX_NESTING:
                return False
            return canonical_user(user) == self.user(user)
        except NOT_STRICT:
            return False

    def _resource_kept(self, raw: bytes) -> str | Rejected:
        return self._resources[raw] if len(raw) <= _CACHED_BYTES else self._resource(raw)

    def _user_kept(self, raw: bytes) -> str | Rejected:
        return self._users[raw] if len(raw) <= _CACHED_BYTES else self._user(raw)

    def record(self, value: bytes) -> bytes:
        """The record of what the rules leave, without fields that nobody knows; `parse` has taken it.

        What hashes would make too large for a record is dropped in place of hashing it.
        """
        made = self._record(value, shrinks=False)
        return made if len(made) <= max(MAX_RECORD_BYTES, len(value)) else self._record(value, shrinks=True)

    def begin(self) -> None:
        """Another body: `anything` may take as long for it as for any."""
        self._walk.begin()

    def anything(self, value: Any) -> Any:
        """A tree of JSON of any format, as far as the rules name what is in it. Raises `TooLong`."""
        made = self._walk.anywhere(value)
        return None if made is DROPPED else made

    def may_be_in(self, value: bytes) -> bool:
        """Whether bytes that are not JSON may hold something that the rules name."""
        lowered = _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), value).lower()
        if self.has_own and (self._signs is None or any(sign in lowered for sign in self._signs)):
            return True
        if self._whole_names is None or self._own_names is None:
            return False
        if self._whole_names.search(lowered):
            return True
        parent = _PARENTS.search(lowered)
        return parent is not None and self._own_names.search(lowered, parent.end()) is not None

    def _shows(self, value: bytes) -> bool:
        """Whether a record may hold what rules of the app's own name."""
        if self._signs is None or b"\\u" in value:
            return True
        lowered = value.lower()
        return any(sign in lowered for sign in self._signs)

    def _resource(self, raw: bytes) -> str | Rejected:
        return canonical_resource(self._resource_block(raw, shrinks=False))

    def _resource_block(self, raw: bytes, *, shrinks: bool) -> bytes:
        made = self._object(raw, RESOURCE, shrinks=shrinks)
        if len(made) > MAX_RESOURCE_BYTES and not shrinks and isinstance(canonical_resource(made), Rejected):
            return self._object(raw, RESOURCE, shrinks=True)
        return made

    def _user(self, raw: bytes) -> str | Rejected:
        return canonical_user(self._user_block(raw, shrinks=False))

    def _record(self, value: bytes, *, shrinks: bool) -> bytes:
        made = {}
        for name, each in _fields(value).items():
            raw = bytes(each)
            if name == "resource":
                made[name] = msgspec.Raw(self._resource_block(raw, shrinks=shrinks))
            elif name == "user":
                made[name] = msgspec.Raw(self._user_block(raw, shrinks=shrinks))
            elif name == "events":
                made[name] = msgspec.Raw(self._events(raw, shrinks=shrinks))
            elif name in _OF_ENVELOPE:
                made[name] = _lone(raw)
        return _encode(made)

    def _events(self, raw: bytes, *, shrinks: bool) -> bytes:
        if raw[:1] != b"[":
            return raw if raw in _NOTHING else bytes(_NO_LIST)
        return b"[" + b",".join(self._event(bytes(each), shrinks=shrinks) for each in _list(raw)) + b"]"

    def _event(self, raw: bytes, *, shrinks: bool) -> bytes:
        if raw[:1] != b"{":
            return raw if raw in (*_NOTHING, _UNFIT[1:-1]) else _UNFIT
        made = {}
        for name, each in _fields(raw).items():
            if name == "attributes":
                made[name] = msgspec.Raw(self._object(bytes(each), ATTRIBUTES, shrinks=shrinks))
            elif name == "repaired":
                made[name] = each if _is_of_texts(orjson.loads(bytes(each))) else _lone(bytes(each))
            elif name in _OF_EVENT:
                made[name] = _lone(bytes(each))
        return _encode(made)

    def _object(
        self, raw: bytes, scope: Scope, *, shrinks: bool, fitting: Callable[[Any], Any] = lambda value: value
    ) -> bytes:
        """An object with what the rules leave of its members; those that stay as they are keep their bytes."""
        if raw[:1] != b"{":
            return raw if raw in _NOTHING else _UNFIT
        tree = orjson.loads(raw)
        cleaned = self._walk.tree(tree, scope)
        members = _fields(raw)
        made: dict[str, Any] = {}
        for name, value in cleaned.items():
            if value == tree[name]:
                made[name] = members[name]
            elif not shrinks:
                made[name] = msgspec.Raw(dumps(fitting(value)))
        return _encode(made)

    def _user_block(self, raw: bytes, *, shrinks: bool) -> bytes:
        if raw[:1] != b"{":
            return raw if raw in _NOTHING else _UNFIT
        tree: Mapping[str, Any] = orjson.loads(raw)
        made: dict[str, Any] = {}
        for name, each in _fields(raw).items():
            value, part = tree[name], bytes(each)
            if name == "id":
                new = self._walk.user_id(value) if isinstance(value, str) else value
                made[name] = _lone(part) if new is value else new
            elif name == "personas":
                made[name] = each if _is_of_texts(value) else _NO_LIST
            elif name == "properties":
                cleaned = self._object(part, PROPERTIES, shrinks=shrinks, fitting=self._property)
                made[name] = msgspec.Raw(cleaned)
        return _encode(made)

    def _property(self, value: Any) -> Any:
        """A property that was changed: hashed as a whole where it is too long now."""
        text = value if isinstance(value, str) else dumps(value).decode()
        return value if len(text) <= MAX_PROPERTY_VALUE_CHARS else self._walk.hashed(text)


def _named(names: Iterable[str], end: bytes) -> re.Pattern[bytes] | None:
    """What finds one of these names with that end in lower case; None if there are none."""
    listed = b"|".join(re.escape(name).encode() for name in sorted(names))
    return re.compile(rb"(?<![a-z0-9_])(?:%b)%b" % (listed, end)) if listed else None


def _lone(raw: bytes) -> msgspec.Raw:
    """A value that has no members: what has some is unfit."""
    return msgspec.Raw(_UNFIT if raw[:1] in (b"{", b"[") else raw)


def _is_of_texts(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(each, str) for each in value))


def _signs(walk: Walk) -> tuple[bytes, ...] | None:
    """What a record has in lower case of which rules of the app's own name something; None if that is not known."""
    rules = walk.rules
    literals = walk.patterns.literals()
    if literals is None:
        return None
    emails = (b"@", b"%40") if rules.emails != KEEP else ()
    queries = (b"?", b"#", b"query") if rules.queries != KEEP else ()
    return (*literals, *emails, *queries)


AS_IT_CAME = Cleaner(Rules(keep=("*",)))
"""Without any rules."""
