"""How phones and other machines reach the `receive` of `up`: with a key, which is made for them where there is none."""

from __future__ import annotations

import secrets
import socket
import tomllib
from pathlib import Path
from typing import Any

from pipeline.commands.listening import is_loopback, shown
from pipeline.embedded.secret import write_private

_BYTES = 24
_FILE = "receive-keys.toml"
_ELSEWHERE = {socket.AF_INET: "203.0.113.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses that belong to nobody (RFC 5737, RFC 3849)."""
_SESSION = (
    '{"v":1,"app_id":"org.example.try","device_id":"my-phone","events":'
    """[{"id":"'$(date +%s)'","name":"app.screen.view","time":'$(date +%s)'000,"""
    '"attributes":{"app.screen.name":"Home"}}]}'
)
"""Between single quotes of a shell, which puts the time in: an envelope of one event, which begins a session."""
_ANY = {"0.0.0.0": (socket.AF_INET,), "::": (socket.AF_INET, socket.AF_INET6)}
"""Addresses that stand for all of a machine's, and the kinds of those."""


def keys_needed(host: str, given: str, data: Path) -> str:
    """The file of the keys that senders need, empty where nobody but this machine reaches the address and no file was
    `given`. In `data` one is made, with one key for all apps; it is there at the next start. OSError."""
    if given or is_loopback(host):
        return given
    file = data.absolute() / _FILE
    if not file.exists():
        write_private(file, f'[[keys]]\nkey = "{secrets.token_urlsafe(_BYTES)}"\napps = ["*"]')
    return str(file)


def lines_for_senders(host: str, port: int, key_file: str) -> str:
    """What to paste on another machine or into an app, under a heading; empty if only this machine reaches the address.

    Of a file with several keys, or with hashes of them, none is said.
    """
    if is_loopback(host):
        return ""
    url = f"http://{shown(_reached_at(host))}:{port}"
    key = _only_key(Path(key_file)) or "KEY"
    return (
        f"Phones       and other machines send with the key of {key_file}, over HTTP without TLS\n"
        f"  SDKs       OTEL_EXPORTER_OTLP_ENDPOINT={url} OTEL_EXPORTER_OTLP_HEADERS=Authorization=Bearer%20{key}\n"
        f"  native     {url}/v1/events with the header Authorization: Bearer {key}\n"
        f"  to try     curl {url}/v1/events -H 'Authorization: Bearer {key}' -d '{_SESSION}'"
    )


def asked_at(host: str) -> str:
    """Where this machine itself asks whoever listens on an address."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _reached_at(host: str) -> str:
    """An address for others: of several that one by which this machine reaches them."""
    for family in _ANY.get(host, ()):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((_ELSEWHERE[family], 9))  # nothing is sent
                return str(probe.getsockname()[0])
        except OSError:
            continue  # it has none of this kind
    return socket.gethostname() if host in _ANY else host


def _only_key(file: Path) -> str:
    """The key of a file that has one, as it is sent; else none. OSError."""
    try:
        entries: Any = tomllib.loads(file.read_text("utf-8")).get("keys")
        (entry,) = entries
        key = str(entry["key"])
    except (ValueError, TypeError, KeyError):
        return ""  # `receive` says what is wrong with it
    return "" if key.startswith("sha256:") else key
