"""Answers are compressed for those who take it, and not where their length could tell somebody something."""

from __future__ import annotations

import gzip
import zlib

import pytest
from starlette.testclient import TestClient

from tests.dashboard.conftest import Visit
from tests.dashboard.markup import Page
from tests.dashboard.stage import Stage

SITES = {"same-origin": True, "none": True, "same-site": False, "cross-site": False}


@pytest.mark.parametrize("path", ["/sessions?range=all", "/health", "/static/vendor/uplot/uPlot.esm.js"])
def test_pages_and_scripts_come_in_a_fraction(client: TestClient, path: str) -> None:
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    packed = client.get(path, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip" and "Accept-Encoding" in packed.headers["Vary"]
    assert packed.content == plain.content, "the same once it is unpacked"
    with client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
    assert len(raw) < len(plain.content) / 2 and len(gzip.decompress(raw)) == len(plain.content)


def test_a_session_of_many_events(client: TestClient, stage: Stage) -> None:
    (row,) = stage.query("SELECT session_id FROM sessions ORDER BY event_count DESC LIMIT 1")
    path = f"/sessions/{row['session_id']}"
    with client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
    assert len(raw) < len(client.get(path).content) / 5


@pytest.mark.parametrize("site", SITES)
def test_what_another_site_asked_for_is_not_compressed(visit: Visit, site: str) -> None:
    """It would choose what is on the page beside the secret (https://www.breachattack.com)."""
    headers = {
        "Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document",
        "Accept-Encoding": "gzip",
    }  # fmt: skip
    answer = visit(bare=True).get("/sessions?filter=guessed", headers=headers)
    assert ("Content-Encoding" in answer.headers) == SITES[site]
    assert Page(answer.text).texts("textarea") == ["guessed"]


@pytest.mark.parametrize(
    ("scheme", "cookie", "packed"),
    [("https", "a=b", False), ("https", "", True), ("http", "a=b", True), ("http", "", True)],
)
def test_of_a_browser_that_does_not_say(visit: Visit, scheme: str, cookie: str, packed: bool) -> None:
    client = visit(bare=True)
    client.base_url = f"{scheme}://testserver"
    headers = {"Accept-Encoding": "gzip", **({"Cookie": cookie} if cookie else {})}
    assert ("Content-Encoding" in client.get("/sessions", headers=headers).headers) == packed


def test_files_are_compressed_once_and_piece_by_piece(client: TestClient) -> None:
    fields = {"range": "all", "filter": ""}
    for format, packed in (("csv", True), ("ndjson", True), ("parquet", False)):
        with client.stream(
            "GET",
            "/export/sessions",
            params={**fields, "format": format},
            headers={"Accept-Encoding": "gzip"},
        ) as answer:
            assert ("Content-Encoding" in answer.headers) == packed
            assert "Content-Length" not in answer.headers
            raw = b"".join(answer.iter_raw())
        if packed:
            unpacking = zlib.decompressobj(16 + zlib.MAX_WBITS)
            content = unpacking.decompress(raw)
            assert unpacking.eof and content.endswith(b"\n")
        else:
            assert raw.endswith(b"PAR1")


def test_small_answers_and_pieces_of_files_stay_as_they_are(client: TestClient) -> None:
    for path, headers in (
        ("/healthz", {}),
        ("/static/vendor/uplot/uPlot.esm.js", {"Range": "bytes=0-5000"}),
    ):
        answer = client.get(path, headers={**headers, "Accept-Encoding": "gzip"})
        assert answer.status_code in {200, 206} and "Content-Encoding" not in answer.headers
