"""The rules of one app on values: what becomes of a text, and of a tree of JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from pipeline.domain.privacy import DROP, HASH, KEEP, LEFT_OUT, MASK, STEERING, Rules
from pipeline.errors import Terminal
from pipeline.formats.privacy import detectors
from pipeline.formats.privacy.patterns import Patterns, lower
from pipeline.formats.strict_json import dumps

MASKED = "***"
_HASHED = "h_"
_HASH_CHARS = 32
_HEX = frozenset("0123456789abcdef")
USER_IDS = frozenset(("user.id", "enduser.id"))
QUERIES = frozenset(("url.query", "http.query"))
_USER_ID = "user_id"
_USER = "user"
LIKE_USERS = frozenset(("m", "metadata", "person", "profile", "customer", "account", "traits", "contact"))
_PAIR = frozenset(("key", "value"))
_TYPES = frozenset(
    f"{kind}{end}"
    for kind in ("string", "bool", "int", "double", "bytes", "array", "kvlist")
    for end in ("Value", "_value")
)
"""Of OTLP's values: names of nothing."""
_BETWEEN = _TYPES | {"attributes", "properties", "value", "values"}
"""What stands between a name and what it names, in one format or another."""
_NAMES_AROUND = 4
_MAX_PATH_CHARS = 256
"""A longer path is not looked at; the name of the member itself always is."""

MAX_STEPS = 10_000_000
"""Of one refused body: a step is to match a name with a pattern, about a quarter of a microsecond. A worker that takes
seconds for it is not taken for dead."""
_STEPS_A_FIND, _STEPS_A_DOT = 60, 12
_MANY_NAMES = 20_000


class TooLong(Terminal):
    """The rules would need more steps for a body than they may take."""


DROPPED = object()
"""What a value becomes that is dropped."""


class Scope(NamedTuple):
    """Where a tree is."""

    prefix: str = ""
    """Put before the names of its members, besides the names alone."""
    is_of_event: bool = False


ATTRIBUTES, RESOURCE, PROPERTIES = Scope(is_of_event=True), Scope(), Scope("user.")


class Walk:
    """The rules of an app, compiled. Pure, but for what it remembers of names."""

    def __init__(self, rules: Rules, app_id: str = "", secret: str = "") -> None:
        self.rules = self._rules = rules
        self._app = app_id.encode() + b"\0"
        self._key = blake2b(secret.encode()).digest()
        listed = ((KEEP, rules.keep), (DROP, rules.drop), (HASH, rules.hash), (MASK, rules.mask))
        self._lists = [(action, Patterns(patterns)) for action, patterns in listed if patterns]
        keep = Patterns(rules.keep)
        self.left_out = frozenset(name for name in LEFT_OUT if not keep.matches(name))
        """Built-in names that this app does not keep."""
        self.patterns = Patterns((*rules.drop, *rules.hash, *rules.mask))
        """What names attributes of which something is done."""
        self._pattern_count = 1 + sum(map(len, (rules.keep, rules.drop, rules.hash, rules.mask)))
        self._steps_left = MAX_STEPS
        self._actions: dict[tuple[str, tuple[str, ...]], str] = {}
        self._puts = {HASH: self.hashed, MASK: _mask, _USER_ID: self.user_id}
        self._looks = rules.looks_for_people or rules.queries != KEEP

    @property
    def is_only_built_in(self) -> bool:
        """Whether the app has no rules but those that it was born with, or fewer."""
        rules = self._rules
        return not (rules.drop or rules.hash or rules.mask or rules.user_id != KEEP or self._looks)

    def hashed(self, text: str) -> str:
        """The keyed hash of a text: the same for the same text of an app, and of what is hashed already itself."""
        if is_hashed(text):
            return text
        digest = blake2b(self._app + text.encode("utf-8", "surrogatepass"), key=self._key, digest_size=16)
        return _HASHED + digest.hexdigest()

    def user_id(self, user_id: str) -> str:
        """A user's id: as it is, or hashed."""
        if self._rules.user_id == HASH or (self._rules.looks_for_people and self._finds_people(user_id)):
            return self.hashed(user_id)
        return user_id

    def tree(self, members: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
        """The members of an object as the rules leave them; equal values where nothing is to be done."""
        return self._object(members, "", scope)

    # One frame a level, since Python has few of them: so the code for members and for items is written out.
    def _object(self, members: Mapping[str, Any], outer: str | None, scope: Scope) -> dict[str, Any]:
        made = {}
        for name, value in members.items():
            path = _path(outer, name)
            action = self._action(name, path, scope)
            if action == HASH:
                made[name] = leaves(value, self.hashed)
            elif action == MASK:
                made[name] = leaves(value, _mask)
            elif action == KEEP:
                made[name] = value
            elif action == _USER_ID and isinstance(value, str):
                made[name] = self.user_id(value)
            elif action != DROP:
                new = value
                if isinstance(value, str):
                    new = self.text(value)
                elif isinstance(value, dict):
                    new = self._object(value, path, scope)
                elif isinstance(value, list):
                    new = self._list(value, path, scope)
                if new is not DROPPED:
                    made[name] = new
        return made

    def _list(self, items: Sequence[Any], path: str | None, scope: Scope) -> list[Any]:
        made = []
        for value in items:
            new = value
            if isinstance(value, str):
                new = self.text(value)
            elif isinstance(value, dict):
                new = self._object(value, path, scope)
            elif isinstance(value, list):
                new = self._list(value, path, scope)
            if new is not DROPPED:
                made.append(new)
        return made

    def begin(self) -> None:
        """From here on, `anywhere` has all its steps again."""
        self._steps_left = MAX_STEPS

    def _steps_of(self, text: str) -> int:
        """At most so many are taken to look into a text: it depends on how much there is that looks like something."""
        rules = self._rules
        finds = [
            *(("@", "%40") if rules.emails != KEEP else ()),
            *(("?", "#") if rules.queries != KEEP else ()),
        ]
        dots = (".", ":") if rules.addresses != KEEP else ()
        return _STEPS_A_FIND * sum(map(text.count, finds)) + _STEPS_A_DOT * sum(map(text.count, dots))

    def _take(self, steps: int) -> None:
        self._steps_left -= steps
        if self._steps_left < 0:
            raise TooLong

    def anywhere(self, value: Any, outer: tuple[str, ...] = ()) -> Any:
        """A tree of any format: names and texts are looked at wherever they are, and pairs of `key` and `value`.

        `outer` are the names around it, the last ones: what is between a name and its value is none of them. Raises
        `TooLong`.
        """
        if isinstance(value, str):
            if self._looks:
                self._take(self._steps_of(value))
            return self.text(value)
        if isinstance(value, list):
            items = []
            for item in value:
                new = self.anywhere(item, outer)
                if new is not DROPPED:
                    items.append(new)
            return items
        if not isinstance(value, dict):
            return value
        pair = value.get("key") if "value" in value else None
        of_pair = self._action_anywhere(pair, outer) if isinstance(pair, str) else None
        if of_pair == DROP:
            return DROPPED
        made = {}
        for each, inner in value.items():
            is_of_pair = of_pair is not None and each in _PAIR
            if is_of_pair and each == "key":
                made[each] = inner
                continue
            name = str(pair) if is_of_pair else each
            action = of_pair if is_of_pair else self._action_anywhere(each, outer)
            if action in (HASH, MASK, _USER_ID):
                made[each] = leaves(inner, self._puts[action])
            elif action != DROP:
                around = (
                    outer
                    if name in _BETWEEN or len(name) > _MAX_PATH_CHARS
                    else (*outer[1 - _NAMES_AROUND :], name)
                )
                new = inner if action == KEEP else self.anywhere(inner, around)
                if new is not DROPPED:
                    made[each] = new
        return made

    def _action_anywhere(self, name: str, outer: tuple[str, ...]) -> str:
        """As `_action`, where the format is not known: a name counts as a user's in whatever looks like one's, and a
        path may begin at any name around it."""
        if name in STEERING or name in _TYPES:
            return ""
        if name in _BETWEEN:
            outer = ()
        action = self._actions.get((name, outer))
        if action is None:
            self._take(self._pattern_count)
            if len(self._actions) >= _MANY_NAMES:
                self._actions.clear()
            action = self._action_of(name, outer)
            if len(name) <= _MAX_PATH_CHARS:
                self._actions[name, outer] = action
        return action

    def _action_of(self, name: str, outer: tuple[str, ...]) -> str:
        paths = [lower(name)]
        for around in reversed(outer):
            paths.append(f"{lower(around)}.{paths[-1]}")
        if outer and (_USER in (parent := lower(outer[-1])) or parent in LIKE_USERS):
            paths.append(f"{_USER}.{paths[0]}")
        for action, patterns in self._lists:
            if any(map(patterns.matches, paths)):
                return action
        if not self.left_out.isdisjoint(paths):
            return DROP
        rules = self._rules
        if (rules.user_id != KEEP or rules.looks_for_people) and not USER_IDS.isdisjoint(paths):
            return _USER_ID
        return rules.queries if rules.queries != KEEP and not QUERIES.isdisjoint(paths) else ""

    def _action(self, name: str, path: str | None, scope: Scope) -> str:
        """What becomes of a member, empty if nothing names it; `path` has dots between the names from the root on,
        None if it is too long."""
        if scope.is_of_event and name in STEERING and path == name:
            return ""
        path = path or ""
        whole = scope.prefix + path
        if self._lists:
            names = lower(name), lower(scope.prefix + name), lower(path), lower(whole)
            for action, patterns in self._lists:
                if any(map(patterns.matches, names)):
                    return action
        # Among attributes just as they are written: so they can be told from the names of an event's members alone.
        whole = whole if scope.is_of_event else lower(whole)
        if whole in self.left_out or (scope.prefix and lower(path) in self.left_out):
            return DROP
        if whole in USER_IDS and (self._rules.user_id != KEEP or self._rules.looks_for_people):
            return _USER_ID
        if self._rules.queries != KEEP and whole in QUERIES:
            return self._rules.queries
        return ""

    def text(self, text: str) -> Any:
        """A text with what the rules look for in texts replaced; DROPPED where they drop what holds it."""
        if not self._looks:
            return text
        rules = self._rules
        if rules.queries != KEEP:
            text = detectors.with_queries(text, self._query)
        # Once more where e-mail addresses were beside: what stands next to one is told from a word by that.
        for with_found, action in (
            (detectors.with_addresses, rules.addresses),
            (detectors.with_emails, rules.emails),
            (detectors.with_addresses, rules.addresses),
        ):
            if action == KEEP:
                continue
            found = with_found(text, self._means(with_found, action))
            if action == DROP and found != text:
                return DROPPED
            text = found
        return text

    def _means(self, detector: Callable[..., str], action: str) -> detectors.Replace:
        if action == HASH:
            return self.hashed
        if action == MASK and detector is detectors.with_addresses:
            return detectors.network_of
        # Also where all that holds it is dropped: then any other text tells that it was found.
        return lambda found: MASKED

    def _query(self, query: str) -> str:
        action = self._rules.queries
        if action == DROP:
            return ""
        return f"?{self.hashed(query) if action == HASH and query != MASKED else MASKED}"

    def _finds_people(self, text: str) -> bool:
        rules = self._rules
        return any(
            action != KEEP and with_found(text, lambda found: "") != text
            for with_found, action in (
                (detectors.with_emails, rules.emails),
                (detectors.with_addresses, rules.addresses),
            )
        )


def is_hashed(text: str) -> bool:
    """Whether a text looks like a keyed hash that was put in. One that an SDK sends in that form stays as it is."""
    digits = text.removeprefix(_HASHED)
    return len(digits) == _HASH_CHARS == len(text) - len(_HASHED) and _HEX.issuperset(digits)


def leaves(value: Any, put: detectors.Replace) -> Any:
    """A value with all texts and numbers in it replaced."""
    if isinstance(value, dict):
        members = {}
        for name, each in value.items():
            members[name] = leaves(each, put)
        return members
    if isinstance(value, list):
        items = []
        for each in value:
            items.append(leaves(each, put))  # a comprehension would be one frame more
        return items
    if value is None:
        return None
    return put(value if isinstance(value, str) else dumps(value).decode())


def _mask(text: str) -> str:
    return MASKED


def _path(outer: str | None, name: str) -> str | None:
    """The path of a member; that of the root is the empty text."""
    if outer is None or len(outer) + len(name) > _MAX_PATH_CHARS:
        return None
    return f"{outer}.{name}" if outer else name
