"""What is kept ready-made is what its sources make."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "browser_sdk"
MAX_BYTES = 300_000


@pytest.mark.parametrize("name", ["opentelemetry", "faro", "sentry"])
def test_the_page_with_an_sdk_was_made_from_the_sources_beside_it(name: str) -> None:
    """Otherwise `npm run bundle` in tests/browser_sdk is due."""
    digest = hashlib.sha256()
    for source in (f"{name}.js", "package-lock.json"):
        digest.update((FOLDER / source).read_bytes())
    bundle = (FOLDER / f"{name}.bundle.js").read_bytes()
    assert f"sha256:{digest.hexdigest()}".encode() in bundle.partition(b"\n")[0]
    assert len(bundle) <= MAX_BYTES
