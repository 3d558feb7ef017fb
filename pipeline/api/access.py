"""Who asks, how often, and how much at once: keys of the operator's, or somebody who is signed in to the dashboard."""

from __future__ import annotations

import hashlib
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.requests import Request

from pipeline.api.problem import RequestRefused
from pipeline.receive.keys import ANY, Grant, Keys

AskKeys = Callable[[], Keys | None]
"""The keys as they are now; None where none are asked for."""
AT_ONCE = 8
"""Questions of one key, or of one address where no key is asked for, that are on their way at the same time."""
BURST_S = 10
"""Who asked nothing for so long may ask as much at once as in that time."""
_MOST = 10_000
"""Keys and addresses that are remembered."""
_TO_WRITE = 'A key that may change things has `access = "write"` in the key file.'
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="session-pipeline"'}


@dataclass(slots=True)
class _Use:
    """What somebody has asked."""

    left: float
    """Questions that may come at once."""
    at_s: float
    running: int = 0


class Access:
    """Decides who may ask and who may change something, and bounds each of them. Belongs to one event loop."""

    def __init__(
        self, keys: AskKeys, *, rate: int, is_open: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`rate` is in questions a minute. `is_open`: without keys, everybody may ask."""
        self._keys = keys
        self._per_s = rate / 60
        self._most_left = max(1.0, self._per_s * BURST_S)
        self._is_open = is_open
        self._clock = clock
        self._secret = secrets.token_bytes(16)
        # Who asked the longest ago comes first.
        self._uses: OrderedDict[bytes, _Use] = OrderedDict()

    @contextmanager
    def of(self, request: Request, *, writes: bool = False) -> Iterator[Grant]:
        """What a request may see, and change if it `writes`, while it is answered. Raises `Refused`."""
        grant, who = self._grant(request, writes=writes)
        use = self._use(who)
        if use.running >= AT_ONCE:
            raise _too_fast(f"{AT_ONCE} requests are already in progress. Wait for an answer.", 1)
        if use.left < 1:
            wait_s = math.ceil((1 - use.left) / self._per_s)
            raise _too_fast(f"{self._per_s * 60:.0f} requests a minute are allowed. Wait a little.", wait_s)
        use.left -= 1
        use.running += 1
        try:
            yield grant
        finally:
            use.running -= 1

    def _grant(self, request: Request, *, writes: bool) -> tuple[Grant, bytes]:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        keys = self._keys()
        if scheme.lower() == "bearer" and keys is not None:
            grant = keys.of(key.strip())
            if grant is None:
                raise RequestRefused(
                    "no-key", "This key is not among those that may ask here.", headers=_CHALLENGE
                )
            if writes and not grant.may_write:
                raise RequestRefused(
                    "not-allowed", f"This key may only read, not change anything. {_TO_WRITE}"
                )
            return grant, self._mark("key", key.strip())
        how = "" if keys is not None else " No keys are set up here (PIPELINE_API_KEYS)."
        if writes:
            # Neither a cookie nor being open is enough: whatever runs in a browser could use them.
            raise RequestRefused(
                "no-key", f"To change something, send a key as `Authorization: Bearer KEY`. {_TO_WRITE}{how}",
                headers=_CHALLENGE,
            )  # fmt: skip
        if request.state.visitor.is_signed_in:
            return ANY, self._mark("session", request.state.visitor.session)
        if keys is None and self._is_open:
            return ANY, self._mark("address", request.client.host if request.client else "")
        raise RequestRefused("no-key", f"Send a key as `Authorization: Bearer KEY`.{how}", headers=_CHALLENGE)

    def _mark(self, kind: str, who: str) -> bytes:
        return hashlib.blake2b(f"{kind} {who}".encode(), key=self._secret, digest_size=16).digest()

    def _use(self, who: bytes) -> _Use:
        now_s = self._clock()
        use = self._uses.pop(who, None) or _Use(self._most_left, now_s)
        use.left = min(self._most_left, use.left + (now_s - use.at_s) * self._per_s)
        use.at_s = now_s
        self._uses[who] = use
        if len(self._uses) > _MOST:
            # Whoever is being answered is not forgotten: there are far fewer of them.
            oldest = next(key for key, each in self._uses.items() if not each.running)
            del self._uses[oldest]
        return use


def _too_fast(why: str, wait_s: int) -> RequestRefused:
    return RequestRefused("too-fast", why, headers={"Retry-After": str(wait_s)})
