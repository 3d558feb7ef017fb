"""Signed cookies and the tokens of forms. Pure: time and random numbers are given."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

LIFETIME_S = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Visitor:
    """One browser: a random number, and whether it knew the password."""

    nonce: str
    is_signed_in: bool


class Seal:
    """Signs what a browser keeps for us. Who has the key can sign; it never leaves the process."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def of_password(cls, password: str) -> Seal:
        """The same key in every process, and another one once the password is changed."""
        salt = b"session-pipeline dashboard"
        return cls(hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1, dklen=32))

    def cookie(self, visitor: Visitor, now_s: int) -> str:
        """The value of the cookie."""
        content = f"{visitor.nonce}.{int(visitor.is_signed_in)}.{now_s + LIFETIME_S}"
        return f"{content}.{self._mac('cookie', content)}"

    def visitor(self, cookie: str, now_s: int) -> Visitor | None:
        """Whom a cookie was given to; None unless it is ours, whole, and not too old."""
        match = re.fullmatch(r"([0-9a-f]{32})\.([01])\.([0-9]{1,15})\.([0-9a-f]{64})", cookie)
        if match is None:
            return None
        nonce, signed_in, expires_s, mac = match.groups()
        genuine = hmac.compare_digest(mac, self._mac("cookie", f"{nonce}.{signed_in}.{expires_s}"))
        return Visitor(nonce, signed_in == "1") if genuine and int(expires_s) > now_s else None

    def form_token(self, visitor: Visitor) -> str:
        """What a form of ours carries and another site cannot know."""
        return self._mac("form", visitor.nonce)

    def is_form_token(self, visitor: Visitor, token: str) -> bool:
        """Whether a form came from a page that we gave to this visitor."""
        return hmac.compare_digest(token.encode(), self.form_token(visitor).encode())

    def _mac(self, purpose: str, content: str) -> str:
        return hmac.new(self._key, f"{purpose}:{content}".encode(), hashlib.sha256).hexdigest()
