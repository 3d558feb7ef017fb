"""What is told of an alert: one message, and the body that each kind of channel takes. Pure: the same alert, the same
bytes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

Kind = Literal["webhook", "slack", "alertmanager", "apprise"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRES_FOR_MS = 365 * 86_400_000
"""An alert fires in an Alertmanager until it is told of as over."""
_FOLLOW_UP_FOR_MS = 3_600_000
_MARKS = {"normal": "OK", "warning": "Warning", "error": "Error", "no data": "No data"}
_FIRING = ("warning", "error", "no data")


def headline(message: Mapping[str, Any]) -> str:
    """The message in one line for people."""
    saw, rule = message["saw"], message["rule"]
    of_group = f" ({rule['by']} {message['group'] or 'none'})" if message["group"] is not None else ""
    what = f"{rule['label']} of {message['app_id']}{of_group}"
    if message["kind"] == "follow_up":
        now = message["now"]
        return (
            f"[Known now] {rule['name']}: {what} was {_number(rule, saw['value'])} as known at {message['saw_at']}"
            f" ({saw['sessions']} sessions, {message['verdict_then']}), and is {_number(rule, now['value'])} as known"
            f" at {message['known_at']} ({now['sessions']} sessions, {message['verdict']})"
        )
    # Messages that were stored by an earlier version have neither of the two.
    if message.get("fault"):
        return f"[{_MARKS['error']}] {rule['name']}: it cannot be evaluated. {message['fault']}"
    over = " It can be evaluated again." if message.get("fault_before") else ""
    before = ""
    if saw["before"] is not None:
        before = f", {_number(rule, saw['before'])} a week before"
    return (
        f"[{_MARKS[message['state']]}] {rule['name']}: {what} is {_number(rule, saw['value'])}{before}"
        f" ({saw['sessions']} sessions from {message['window']['from']} to {message['window']['until']}){over}"
    )


def body(kind: Kind, message: Mapping[str, Any]) -> bytes:
    """The bytes that a channel of a kind takes; of Apprise what it is to show."""
    if kind == "webhook":
        return _json({**message, "text": headline(message)})
    if kind == "slack":
        return _json(_slack(message))
    if kind == "alertmanager":
        return _json(_alertmanager(message))
    lines = [headline(message), message["rule"]["summary"], message["link"]]
    return "\n".join(line for line in lines if line).encode()


def headers(message_id: str) -> dict[str, str]:
    """Of a request: whoever keeps the ids that came tells what comes twice."""
    return {
        "content-type": "application/json",
        "idempotency-key": message_id,
        "webhook-id": message_id,
    }


def signature(secret: str, message_id: str, at_s: int, sent: bytes) -> dict[str, str]:
    """The headers by which a receiver knows who sent it and when: those of Standard Webhooks (standardwebhooks.com).

    A secret that begins with `whsec_` goes on in base64, any other one is taken as it stands.
    """
    signed = f"{message_id}.{at_s}.".encode() + sent
    digest = hmac.new(secret_bytes(secret), signed, hashlib.sha256).digest()
    return {"webhook-timestamp": str(at_s), "webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}


def secret_bytes(secret: str) -> bytes:
    """Raises ValueError where what follows `whsec_` is no base64, or there is nothing."""
    if not secret.startswith("whsec_"):
        found = secret.encode()
    else:
        try:
            found = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error as error:
            raise ValueError("what follows whsec_ is not base64") from error
    if not found:
        raise ValueError("it is empty")
    return found


def iso(time_ms: int) -> str:
    """Unix milliseconds in RFC 3339."""
    at = _EPOCH + timedelta(milliseconds=time_ms)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1_000:03d}Z"


def _slack(message: Mapping[str, Any]) -> dict[str, Any]:
    text = _slack_text(headline(message))
    lines = [text, _slack_text(message["rule"]["summary"])]
    if message["link"]:
        lines.append(f"<{message['link']}|Sessions>")
    section = {
        "type": "section",
        "text": {"type": "mrkdwn", "text": "\n".join(line for line in lines if line)[:3_000]},
    }
    return {"text": text, "blocks": [section]}


def _slack_text(text: str) -> str:
    """Slack takes these three for its own."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _alertmanager(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Alerts of the API v2. What was firing in another severity ends in the same request."""
    rule, at_ms = message["rule"], message["evaluated_at_ms"]
    labels = {"alertname": rule["name"], "app_id": message["app_id"], "metric": rule["metric"]}
    if message["group"] is not None:
        labels["group"] = message["group"] or "none"
    annotations = {"summary": headline(message), "description": rule["summary"], "message_id": message["id"]}

    def alert(severity: str, start_ms: int, end_ms: int) -> dict[str, Any]:
        return {
            "labels": {**labels, "severity": severity.replace(" ", "_")},
            "annotations": annotations,
            "startsAt": iso(start_ms),
            "endsAt": iso(end_ms),
            **({"generatorURL": message["link"]} if message["link"] else {}),
        }

    if message["kind"] == "follow_up":
        known_ms = message["known_at_ms"]
        return [alert("follow_up", known_ms, known_ms + _FOLLOW_UP_FOR_MS)]
    found = [
        alert(severity, at_ms, at_ms)
        for severity in _FIRING
        if severity == message["told_before"] != message["state"]
    ]
    if message["state"] in _FIRING:
        found.append(alert(message["state"], at_ms, at_ms + _FIRES_FOR_MS))
    return found


def _number(rule: Mapping[str, Any], value: float | None) -> str:
    if value is None:
        return "unknown"
    if rule["unit"] == "share":
        return f"{value:.3%}"
    shown = f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"
    return f"{shown} ms" if rule["unit"] == "ms" else shown


def _json(told: Any) -> bytes:
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
