"""What fails once a second in the same way is a line once a minute."""

from __future__ import annotations

import logging

import pytest

from pipeline.roles.seldom import Seldom


def test_the_same_is_said_once_a_minute_and_what_is_new_at_once(caplog: pytest.LogCaptureFixture) -> None:
    now_s = 0.0
    seldom = Seldom(logging.getLogger("pipeline.test"), lambda: now_s)
    for second in range(130):
        now_s = float(second)
        seldom.warn("it is full" if second >= 100 else "it is away")
    assert caplog.messages == [
        "it is away",
        "it is away (60 s so far)",
        "it is full (100 s so far)",
    ]
