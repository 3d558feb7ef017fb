"""Delivering alerts: HTTP for webhooks, Slack and an Alertmanager, and whatever Apprise knows."""

from __future__ import annotations

import importlib
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import urllib3

from pipeline.commands.failure import CommandFailed
from pipeline.domain.alert_messages import headers, secret_bytes, signature
from pipeline.errors import path_of
from pipeline.query.alerts.rules import Channel
from pipeline.roles.alerts.delivery import Delivery

_CONNECT_S, _READ_S = 5.0, 10.0
_LONGEST_WISH_S = 86_400
_ALERTS_PATH = "/api/v2/alerts"
_SHOWN = 200


class Channels:
    """Sends as the channels of a file say. Reads their files at each try, so that a new secret needs no restart."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """`clock` is in seconds since 1970."""
        self._clock = clock
        self._pool = urllib3.PoolManager(
            retries=False, timeout=urllib3.Timeout(connect=_CONNECT_S, read=_READ_S), num_pools=50
        )

    def send(self, channel: Channel, message_id: str, body: bytes) -> Delivery:
        """Deliver a body; blocks for 15 s at most, Apprise for as long as its service takes."""
        try:
            url = url_of(channel)
            if channel.kind == "apprise":
                return _send_by_apprise(url, body)
            told = headers(message_id)
            if channel.secret_file:
                told |= signature(secret_of(channel), message_id, int(self._clock()), body)
        except CommandFailed as error:
            return Delivery(False, str(error))
        try:
            # Whoever redirects could have the body brought anywhere.
            answer = self._pool.request("POST", url, body=body, headers=told, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            return Delivery(False, f"no answer: {_why(error)}")
        if 200 <= answer.status < 300:
            return Delivery(True, f"{answer.status}")
        said = answer.data[:_SHOWN].decode(errors="replace")
        return Delivery(False, f"{answer.status}: {said}", _wish_ms(answer.headers.get("Retry-After", "")))


def _why(error: urllib3.exceptions.HTTPError) -> str:
    """What the system or TLS says of it, without the URL, which may be a secret; or else the kind of error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate does not hold: {cause.verify_message}"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return "it took too long" if isinstance(error, urllib3.exceptions.TimeoutError) else type(error).__name__


def url_of(channel: Channel) -> str:
    """Where a channel is. Raises CommandFailed for a file that cannot be read or holds no URL."""
    url = channel.url or _read(channel, channel.url_file)
    if channel.kind != "apprise" and not url.startswith(("http://", "https://")):
        raise CommandFailed(f"channel {channel.name}: the URL has to begin with http:// or https://")
    return url.rstrip("/") + _ALERTS_PATH if channel.kind == "alertmanager" else url


def secret_of(channel: Channel) -> str:
    """What a channel's bodies are signed with. Raises CommandFailed."""
    secret = _read(channel, channel.secret_file)
    try:
        secret_bytes(secret)
    except ValueError as error:
        raise CommandFailed(
            f"channel {channel.name}: {channel.secret_file} holds no secret: {error}"
        ) from error
    return secret


def require_usable(channel: Channel) -> None:
    """Raises CommandFailed for a channel that could not deliver anything, as far as that can be known."""
    url = url_of(channel)
    if channel.secret_file:
        secret_of(channel)
    if channel.kind == "apprise":
        _apprise(url)


def _read(channel: Channel, file: str) -> str:
    with path_of(f"channel {channel.name}", Path(file)):
        return Path(file).read_text(encoding="utf-8").strip()


def _send_by_apprise(url: str, body: bytes) -> Delivery:
    title, _, rest = body.decode().partition("\n")
    is_sent = bool(_apprise(url).notify(body=rest or title, title=title))
    return Delivery(is_sent, "taken" if is_sent else "Apprise could not deliver it")


def _apprise(url: str) -> Any:
    try:
        apprise = importlib.import_module("apprise")
    except ImportError as error:
        raise CommandFailed(
            "channels of kind apprise need the extra: pip install 'session-pipeline[alerts]'"
        ) from error
    sender = apprise.Apprise()
    if not sender.add(url):
        raise CommandFailed("Apprise knows no service for this URL")
    return sender


def _wish_ms(text: str) -> int:
    return min(int(text), _LONGEST_WISH_S) * 1_000 if text.isdecimal() and len(text) < 10 else 0
