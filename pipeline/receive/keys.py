"""Who may send for which apps: keys by app, from a file of the operator's."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl

from pipeline.errors import Terminal

ANY_APP = "*"
_HASHED = "sha256:"
_HASH = re.compile(r"[0-9a-f]{64}")
FEWEST_CHARS, _MOST_CHARS = 5, 512
"""Of a key. Those of Embrace, its app ids, have five."""
_SENTRY_KEY = re.compile(r"(?:^|[\s,])sentry_key=([^\s,]+)")
_MOST_FIELDS = 20


class InvalidKeys(Terminal):
    """The key file cannot be used; says why, and never a key."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a key allows."""

    apps: frozenset[str]
    """Empty: any app."""
    may_write: bool = False
    """Of the HTTP API: whether the key may change something. (What keys of `receive` are for is not told by this.)"""

    def refused(self, apps: Collection[str]) -> set[str]:
        """Those apps that the key may not write."""
        return set(apps) - self.apps if self.apps else set()


ANY = Grant(frozenset())
"""Where no keys are asked for."""


class Keys:
    """The keys of a file, which are not kept themselves."""

    def __init__(self, grants: Mapping[str, Grant]) -> None:
        """`grants` by the SHA-256 of their keys, as hexadecimal digits."""
        # How long it takes to find one tells nothing: what is looked for is made with a secret of this process.
        self._secret = secrets.token_bytes(32)
        self._grants = {self._mark(digest): (digest, grant) for digest, grant in grants.items()}

    @classmethod
    def read(cls, text: str, fewest: int = FEWEST_CHARS, *, with_access: bool = False) -> Keys:
        """The keys of a TOML document, of so many characters at least:

            [[keys]]
            key = "…"                       # or "sha256:" and the key's SHA-256 in hexadecimal digits
            apps = ["org.example.app"]      # ["*"] is all
            access = "write"                # only `with_access`; without it "read"

        Raises `InvalidKeys`.
        """
        try:
            given = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InvalidKeys(f"it is not TOML: {error}") from error
        entries = given.get("keys")
        if not isinstance(entries, list) or not entries or set(given) != {"keys"}:
            raise InvalidKeys("it needs one or more tables [[keys]], and nothing else")
        grants: dict[str, Grant] = {}
        for number, entry in enumerate(entries, 1):
            where = f"[[keys]] number {number}"
            access = _access(entry, where) if with_access else "read"
            digest, grant = _entry(entry, where, fewest)
            grant = replace(grant, may_write=access == "write")
            if digest in grants:
                raise InvalidKeys(f"[[keys]] number {number}: its key was there before")
            grants[digest] = grant
        return cls(grants)

    def of(self, key: str) -> Grant | None:
        """What a key allows, None if there is no such key. Takes the same time for any key of its length."""
        digest = hashlib.sha256(key.encode()).hexdigest()
        found, grant = self._grants.get(self._mark(digest), ("", None))
        return grant if hmac.compare_digest(found, digest) else None

    def _mark(self, digest: str) -> bytes:
        return hashlib.blake2b(digest.encode(), key=self._secret, digest_size=32).digest()


def key_sent(headers: Mapping[str, str], query: str) -> str:
    """The key of a request, from where SDKs put it; empty if there is none.

    `Authorization: Bearer` (OpenTelemetry, Measure), `x-api-key` (Faro), `X-EM-AID` (Embrace), `X-Sentry-Auth` or
    `sentry_key` of the query (Sentry), and `key` of the query, since what a page sends as it goes away
    (`navigator.sendBeacon`) has no headers of its own.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    for name in ("x-api-key", "x-em-aid"):
        if headers.get(name, "").strip():
            return headers[name].strip()
    sentry = _SENTRY_KEY.search(headers.get("x-sentry-auth", ""))
    if sentry:
        return sentry[1]
    try:
        fields = dict(parse_qsl(query, max_num_fields=_MOST_FIELDS))
    except ValueError:
        return ""
    return fields.get("sentry_key") or fields.get("key") or ""


def _access(entry: Any, where: str) -> str:
    """What an entry says of it, which is taken out."""
    access = entry.pop("access", "read") if isinstance(entry, dict) else "read"
    if access not in ("read", "write"):
        raise InvalidKeys(f'{where}: access must be "read" or "write"')
    return str(access)


def _entry(entry: Any, where: str, fewest: int) -> tuple[str, Grant]:
    if not isinstance(entry, dict) or set(entry) != {"key", "apps"}:
        raise InvalidKeys(f"{where}: it needs key and apps, and nothing else")
    key, apps = entry["key"], entry["apps"]
    if not isinstance(apps, list) or not apps or not all(isinstance(app, str) and app for app in apps):
        raise InvalidKeys(f'{where}: apps must be a list of app ids, or ["*"] for all')
    if (
        not isinstance(key, str)
        or not (key.isascii() and key.isprintable())
        or key != key.strip()
        or " " in key
    ):
        raise InvalidKeys(f"{where}: key must be ASCII text without spaces")
    if key.startswith(_HASHED):
        digest = key.removeprefix(_HASHED).lower()
        if not _HASH.fullmatch(digest):
            raise InvalidKeys(f"{where}: 64 hexadecimal digits must come after {_HASHED}")
    elif not fewest <= len(key) <= _MOST_CHARS:
        raise InvalidKeys(f"{where}: key must have {fewest} to {_MOST_CHARS} characters")
    else:
        digest = hashlib.sha256(key.encode()).hexdigest()
    return digest, Grant(frozenset() if ANY_APP in apps else frozenset(apps))
