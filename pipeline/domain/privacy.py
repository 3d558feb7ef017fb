"""What an app lets in of the people who use it, and how many of its devices: plain data, as settings say it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain

KEEP, DROP, HASH, MASK = "keep", "drop", "hash", "mask"

LEFT_OUT: tuple[str, ...] = (
    *("user.email", "user.mail", "user.e-mail", "user.e_mail", "user.email_address", "user.emailaddress"),
    *("user.name", "user.full_name", "user.fullname", "user.first_name", "user.firstname"),
    *("user.last_name", "user.lastname", "user.given_name", "user.family_name", "user.surname"),
    *("user.username", "user.user_name", "user.display_name", "user.displayname", "user.nickname"),
    *("enduser.email", "enduser.name", "enduser.full_name", "enduser.username", "enduser.display_name"),
)
"""What is dropped unless an app keeps it: attributes of these names, members of an object `user` or `enduser` among the
attributes, and the native user's properties, which are named here with `user.` before them."""

STEERING = frozenset(
    (
        *("app.state", "passive", "android.app.state", "ios.app.state", "browser.page.visibility"),
        *("app.launch.type", "app.exit.reason", "fatal", "http.response.status_code", "error.type"),
        *("severity_number", "severity_text", "severity", "app.screen.view.derived"),
    )
)
"""The attributes that say what an event means to a session: no pattern reaches them, or rules would change sessions."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What of an app's attributes is dropped, hashed or masked. A pattern is a name in which `*` stands for any text;
    where several name an attribute, the first list of these does."""

    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    hash: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()
    user_id: str = KEEP
    """KEEP or HASH, as all that follow, which may be DROP or MASK as well."""
    emails: str = KEEP
    """What becomes of values that hold an e-mail address."""
    addresses: str = KEEP
    """What becomes of values that hold an IP address."""
    queries: str = KEEP
    """What becomes of the queries of URLs in values."""

    @property
    def needs_secret(self) -> bool:
        """Whether something may be hashed. A user id that holds an e-mail or IP address is, since it has to stay an id
        of one person."""
        return bool(self.hash) or HASH in (self.user_id, self.queries) or self.looks_for_people

    @property
    def looks_for_people(self) -> bool:
        """Whether values are looked through for e-mail or IP addresses."""
        return self.emails != KEEP or self.addresses != KEEP


@dataclass(frozen=True, slots=True)
class Privacy:
    """The rules of each app: the default, and what single apps have in its place."""

    default: Rules = field(default_factory=Rules)
    by_app: Mapping[str, Rules] = field(default_factory=dict)

    def of(self, app_id: str) -> Rules:
        """The rules that hold for an app."""
        return self.by_app.get(app_id, self.default)

    def of_all(self) -> tuple[Rules, ...]:
        """Rules that, one after the other, take away whatever those of any app do: for what may be of any. Only what
        all apps keep is kept."""
        if not self.by_app:
            return (self.default,)
        every = (self.default, *self.by_app.values())

        def strictest(how: Iterable[str]) -> str:
            found = set(how)
            return next(each for each in (DROP, MASK, HASH, KEEP) if each in found)

        keep = tuple(name for name in self.default.keep if all(name in rules.keep for rules in every))
        first = Rules(
            keep=keep,
            drop=tuple(chain.from_iterable(rules.drop for rules in every)),
            hash=tuple(chain.from_iterable(rules.hash for rules in every)),
            user_id=strictest(rules.user_id for rules in every),
            emails=strictest(rules.emails for rules in every),
            addresses=strictest(rules.addresses for rules in every),
            queries=strictest(rules.queries for rules in every),
        )
        # Last, so that what one app masks is masked even where another hashes it.
        mask = tuple(chain.from_iterable(rules.mask for rules in every))
        return (first, Rules(keep=keep, mask=mask)) if mask else (first,)


@dataclass(frozen=True, slots=True)
class Sampling:
    """The share of devices of which anything is kept."""

    sample_rate: float = 1.0
    """Over 0, at most 1."""


@dataclass(frozen=True, slots=True)
class Samplings:
    """The sampling of each app: the default, and what single apps have in its place."""

    default: Sampling = field(default_factory=Sampling)
    by_app: Mapping[str, Sampling] = field(default_factory=dict)

    def of(self, app_id: str) -> Sampling:
        """The sampling that holds for an app."""
        return self.by_app.get(app_id, self.default)
