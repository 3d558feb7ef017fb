"""What is said of a channel that takes nothing: the cause, and not the URL, which may be a secret."""

from __future__ import annotations

import socket

import pytest

from pipeline.commands import alert_channels
from pipeline.commands.alert_channels import Channels
from pipeline.embedded.child import LOOPBACK, free_port
from pipeline.query.alerts.rules import Channel


def said_of(port: int) -> str:
    channel = Channel("team", "webhook", f"http://{LOOPBACK}:{port}/secret", "", "")
    delivery = Channels().send(channel, "id", b"{}")
    assert not delivery.is_taken
    return delivery.detail


def test_nobody_listens() -> None:
    assert said_of(free_port()) == "no answer: Connection refused"


def test_nothing_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_channels, "_READ_S", 0.2)
    with socket.create_server((LOOPBACK, 0)) as silent:
        assert said_of(silent.getsockname()[1]) == "no answer: it took too long"
