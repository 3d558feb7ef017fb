"""The page of performance: every number leads to the sessions that it counts."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import urlencode

import pytest
from starlette.testclient import TestClient

from tests.dashboard.stage import Stage
from tests.support.linked_sessions import RANGE, counted

LED = re.compile(r'<a href="(/sessions\?[^"]*)"[^>]*>([^<]*)</a>')


@pytest.mark.parametrize(
    ("app", "by", "shown"),
    [
        ("org.example.shop", "", {"screen", "vital", "frames"}),
        ("org.example.shop", "app_version", {"screen", "vital", "frames"}),
        ("org.example.social", "os_name", {"start", "screen"}),
    ],
)
def test_numbers_lead_to_their_sessions(
    client: TestClient, stage: Stage, app: str, by: str, shown: set[str]
) -> None:
    answer = client.get(f"/performance?{urlencode({'app': app, **RANGE, 'by': by})}")
    assert answer.status_code == 200, answer.text
    sections = dict(re.findall(r'<h2 id="(\w+)">(.*?)</section>', answer.text, re.DOTALL))
    assert shown <= set(sections)
    for name, section in sections.items():
        if name == "start":
            # As a start takes less time, not as the alphabet has it.
            labels = re.findall(r'colspan="7">(\w+)', section)
            assert labels == [each for each in ("cold", "warm", "hot") if each in labels] and len(labels) > 1
        rows = section.split('<th scope="row">')[1:]
        for row in rows[:4]:
            led = [(unescape(address), text) for address, text in LED.findall(row)]
            exact = [(address, text) for address, text in led if re.fullmatch(r"[\d,]+(?: sessions?)?", text)]
            assert exact or name == "frames", row
            for address, text in exact:
                assert counted(stage, address) == int(text.split()[0].replace(",", "")), address
            if name != "frames":
                # Half of all took as long as p50 or longer, and fewer as long as p95.
                sessions, p50, _, p95 = (counted(stage, address) for address, _ in led[:4])
                assert sessions >= p50 >= p95 >= 1, row
