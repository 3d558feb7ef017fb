"""Tokens for Kafka's OAUTHBEARER: from the token endpoint of an OpenID provider, by client id and secret.

The grant is `client_credentials` of RFC 6749, section 4.4, with the client's id and secret as HTTP Basic authentication
(section 2.3.1), as Kafka's own clients do it.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson
from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import AIOKafkaConnection, OAuthAuthenticator
from aiokafka.errors import KafkaConnectionError, SaslAuthenticationFailed

from pipeline.tls import Tls, why_untrusted

logger = logging.getLogger(__name__)

_TIMEOUT_S = 10.0
_RENEWED_AT = 0.8
"""The part of a token's life after which a new one is asked for, as in Kafka's own clients."""
_USUAL_LIFE_S = 300.0
"""Of a token whose answer does not say (section 5.1 lets providers leave it out)."""
_MOST_BYTES, _MOST_SAID = 1_000_000, 200
_LATER = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}


class NoTokenNow(KafkaConnectionError):  # type: ignore[misc]
    """The token endpoint does not answer; it may later. One of aiokafka's errors, as what raises it runs in there."""

    def __str__(self) -> str:
        return str(self.args[0])


class TokenRefused(SaslAuthenticationFailed):  # type: ignore[misc]
    """The token endpoint answered, and gives none: somebody has to change something first."""

    def __str__(self) -> str:
        return str(self.args[0])


class _Token(NamedTuple):
    text: str
    renewed_s: float
    """From when on a new one is asked for, by the clock."""
    expires_s: float


class TokenSource(AbstractTokenProvider):  # type: ignore[misc]
    """The tokens of one client, shared by all its connections. Any thread and event loop may ask it.

    The request runs in a thread of its own, and whoever asks meanwhile waits for the same one.
    """

    def __init__(
        self,
        url: str,
        client_id: str,
        client_secret: str,
        scope: str = "",
        ca_file: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` is in seconds. Nothing is asked for yet."""
        self.url = url
        self._client_id = client_id
        user = f"{urllib.parse.quote_plus(client_id)}:{urllib.parse.quote_plus(client_secret)}"
        self._login = f"Basic {base64.b64encode(user.encode()).decode()}"
        form = {"grant_type": "client_credentials", **({"scope": scope} if scope else {})}
        self._form = urllib.parse.urlencode(form).encode()
        self._tls = Tls("PIPELINE_KAFKA_TOKEN", ca_file=ca_file)
        self._clock = clock
        self._lock = threading.Lock()
        self._asking: Future[_Token] | None = None
        self._token: _Token | None = None

    async def token(self) -> str:
        """A token that has not expired. Raises `NoTokenNow`, `TokenRefused`, and UnusablePath for the CA file."""
        with self._lock:
            held = self._token
            if held and self._clock() < held.renewed_s:
                return held.text
            if self._asking is None or self._asking.done():
                self._asking = Future()
                self._asking.set_running_or_notify_cancel()
                # A daemon, and not kept: a worker that ends does not wait for a token that nobody needs.
                threading.Thread(
                    target=self._answered, args=(self._asking,), name="kafka-token", daemon=True
                ).start()
            asking = self._asking
        try:
            # Others wait for it too: who is cancelled does not cancel it.
            return (await asyncio.shield(asyncio.wrap_future(asking))).text
        except (NoTokenNow, TokenRefused) as error:
            if held is None or self._clock() >= held.expires_s:
                raise
            logger.warning("%s; going on with the previous token, which is still valid", error)
            return held.text

    def _answered(self, asking: Future[_Token]) -> None:
        try:
            token = self._ask()
        except BaseException as error:
            asking.set_exception(error)
        else:
            asking.set_result(token)

    def _ask(self) -> _Token:
        begun_s = self._clock()
        answer = self._read(self._answer())
        life_s = answer.get("expires_in", _USUAL_LIFE_S)
        text = answer.get("access_token")
        if not isinstance(text, str) or not text or not text.isascii() or not text.isprintable():
            raise TokenRefused(
                f"the token endpoint {self.url} answers without an access_token: {self._check()}"
            )
        try:
            life_s = float(life_s)
        except (TypeError, ValueError):
            life_s = _USUAL_LIFE_S
        token = _Token(text, begun_s + life_s * _RENEWED_AT, begun_s + life_s)
        with self._lock:
            self._token = token
        return token

    def _answer(self) -> bytes:
        """The body of the endpoint's answer. Blocks, some ten seconds at most."""
        context = self._tls.context() if self.url.startswith("https:") else None
        handlers: list[Any] = [_NoRedirect(), urllib.request.HTTPSHandler(context=context)]
        request = urllib.request.Request(
            self.url, self._form, {"Authorization": self._login, "Accept": "application/json"}
        )
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=_TIMEOUT_S) as answer:
                body: bytes = answer.read(_MOST_BYTES)
                return body
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error.code, error.read(_MOST_BYTES)) from None
        except urllib.error.URLError as error:
            raise self._unreached(error.reason) from error
        except OSError as error:  # while the answer was read
            raise self._unreached(error) from error

    def _unreached(self, reason: object) -> Exception:
        if isinstance(reason, ssl.SSLCertVerificationError):
            said = why_untrusted(
                reason,
                f"the token endpoint {self.url}",
                "PIPELINE_KAFKA_TOKEN_CA_FILE",
                "PIPELINE_KAFKA_TOKEN_URL",
            )
            return TokenRefused(said)
        said = (reason.strerror if isinstance(reason, OSError) else "") or str(reason)
        return NoTokenNow(
            f"the token endpoint {self.url} does not answer: {said}. Check that it runs and that "
            "PIPELINE_KAFKA_TOKEN_URL names it"
        )

    def _refusal(self, status: int, body: bytes) -> Exception:
        try:
            answer = self._read(body)
        except TokenRefused:
            answer = {}
        words = [str(answer[name]) for name in ("error", "error_description") if answer.get(name)]
        said = f"{status} {_shown(': '.join(words))}".strip()
        if status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return NoTokenNow(f"the token endpoint {self.url} gives no token at the moment: {said}")
        return TokenRefused(
            f"the token endpoint {self.url} refused client {self._client_id}: {said}. {self._check()}"
        )

    def _check(self) -> str:
        return (
            "Check PIPELINE_KAFKA_TOKEN_URL, PIPELINE_KAFKA_USERNAME (the client id), PIPELINE_KAFKA_PASSWORD (its "
            "secret) and PIPELINE_KAFKA_TOKEN_SCOPE"
        )

    def _read(self, body: bytes) -> dict[str, Any]:
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            raise TokenRefused(
                f"the token endpoint {self.url} answers with something other than a JSON object: {self._check()}"
            )
        return answer


class _Authenticator(OAuthAuthenticator):  # type: ignore[misc]
    """aiokafka's own takes any answer to a token for consent; one that is not empty says why it is refused (RFC 7628,
    section 3.2.2). It would then go on with a broker that has nothing to say to it."""

    async def step(self, payload: bytes | None) -> Any:
        if self._token_sent and payload:
            raise SaslAuthenticationFailed(_shown(payload.decode("utf-8", "replace")))
        return await super().step(payload)


_authenticator_of_others = AIOKafkaConnection.authenticator_oauth


def _authenticator(connection: Any) -> Any:
    """Ours for connections with a source of ours; whoever else uses aiokafka in this process has its own."""
    source = connection._sasl_oauth_token_provider
    if isinstance(source, TokenSource):
        return _Authenticator(sasl_oauth_token_provider=source)
    return _authenticator_of_others(connection)


AIOKafkaConnection.authenticator_oauth = _authenticator


def _shown(said: str) -> str:
    return "".join(c if c.isprintable() else " " for c in said)[:_MOST_SAID]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Another address would be given the secret too."""

    def redirect_request(self, *_: Any) -> None:
        return None
