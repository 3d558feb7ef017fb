"""Who is signed in: signed cookies, and which of them have ended. Time is given."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

from pipeline.dashboard.sign_in_folder import SignInFolder

LIFETIME_S = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Visitor:
    """One browser: the random number of its session, and until when that lasts (Unix seconds)."""

    session: str
    """Empty: nobody who knew the password."""
    expires_s: int

    @property
    def is_signed_in(self) -> bool:
        return bool(self.session)


STRANGER = Visitor("", 0)


class Seal:
    """Signs what a browser keeps for us. Whoever has the key can sign; it never leaves the process."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def of(cls, secret: bytes, password: str) -> Seal:
        """Needs both: whoever has a cookie cannot try passwords on it, and a new password ends all cookies."""
        given = password.encode(errors="surrogateescape")
        return cls(hashlib.scrypt(given, salt=secret, n=2**14, r=8, p=1, dklen=32))

    def cookie(self, visitor: Visitor) -> str:
        """The value of the cookie."""
        content = f"{visitor.session}.{visitor.expires_s}"
        return f"{content}.{self._mac(content)}"

    def visitor(self, cookie: str, now_s: int) -> Visitor:
        """Whom a cookie was given to; a stranger unless it is ours, whole, and not too old."""
        match = re.fullmatch(r"([0-9a-f]{32})\.([0-9]{1,15})\.([0-9a-f]{64})", cookie)
        if match is None:
            return STRANGER
        session, expires_s, mac = match.groups()
        genuine = hmac.compare_digest(mac, self._mac(f"{session}.{expires_s}"))
        return Visitor(session, int(expires_s)) if genuine and int(expires_s) > now_s else STRANGER

    def _mac(self, content: str) -> str:
        return hmac.new(self._key, f"cookie:{content}".encode(), hashlib.sha256).hexdigest()


class SignIns:
    """Begins and ends sessions of browsers."""

    def __init__(self, seal: Seal, kept: SignInFolder) -> None:
        self._seal = seal
        self._kept = kept

    def begin(self, now_s: int) -> str:
        """The cookie of a new session."""
        return self._seal.cookie(Visitor(secrets.token_hex(16), now_s + LIFETIME_S))

    def visitor(self, cookie: str, now_s: int) -> Visitor:
        """Who sends this cookie."""
        visitor = self._seal.visitor(cookie, now_s)
        if visitor.is_signed_in and self._kept.is_ended(visitor.session, visitor.expires_s):
            return STRANGER
        return visitor

    def end(self, visitor: Visitor, now_s: int) -> None:
        """From now on its cookie is nobody's, wherever a copy of it is. Raises OSError if that cannot be kept."""
        if visitor.is_signed_in:
            self._kept.end(visitor.session, visitor.expires_s, now_s)
