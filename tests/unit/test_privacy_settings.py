"""The tables of privacy rules, and the sample rate, as a file has them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.domain.privacy import STEERING, Rules
from pipeline.formats.edge import Edge
from pipeline.settings import InvalidSettings, Settings, load

KEY = "a key for a test, with more than 32 characters"


def loaded(tmp_path: Path, text: str, **environ: str) -> Settings:
    file = tmp_path / "pipeline.toml"
    file.write_text(text, encoding="utf-8")
    return load({"PIPELINE_CONFIG": str(file), **environ})


def test_an_app_has_its_own_line_by_line(tmp_path: Path) -> None:
    text = """
    sample_rate = 0.5
    [privacy]
    queries = "drop"
    drop = ["token"]
    [apps.a]
    sample_rate = 0.25
    [apps.a.privacy]
    drop = []
    user_id = "hash"
    [apps.b]
    inactivity_timeout = "1h"
    """
    settings = loaded(tmp_path, text, PIPELINE_PRIVACY_KEY=KEY)
    default = Rules(drop=("token",), queries="drop")
    assert settings.privacy.of("other") == settings.privacy.of("b") == default
    assert settings.privacy.of("a") == Rules(queries="drop", user_id="hash")
    rates = [settings.samplings.of(app).sample_rate for app in ("a", "b", "other")]
    assert rates == [0.25, 0.5, 0.5]
    assert KEY not in repr(settings)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("privacy = 1", "privacy: is not a table"),
        ("[privacy]\ndorp = []", "privacy.dorp: no such rule, did you mean drop?"),
        ("[privacy]\ndrop = 'token'", "privacy.drop: is not a list of names"),
        ("[privacy]\ndrop = [1]", "privacy.drop: is not a list of names"),
        ("[privacy]\ndrop = ['']", "privacy.drop: '' must have 1 to 128 characters"),
        (f"[privacy]\nmask = {['x'] * 201}", "has 201 names, at most 200"),
        ("[privacy]\nemails = 'remove'", "privacy.emails: is not one of keep, drop, hash, mask"),
        ("[privacy]\nuser_id = 'drop'", "privacy.user_id: is not one of keep, hash"),
        ("[apps.a.privacy]\nhash = ['x']", "apps.a.privacy: hashes"),
        ("[privacy]\nemails = 'mask'", "needs privacy_key"),
        ("[apps.a]\nsample_rate = 0", "apps.a.sample_rate: 0 is not allowed: over 0, at most 1"),
        *((f"[privacy]\ndrop = ['{name}']", "what an event means to a session") for name in sorted(STEERING)),
    ],
)
def test_what_is_wrong_is_said_by_name(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InvalidSettings, match=r"^settings: ") as refused:
        loaded(tmp_path, text)
    assert says in str(refused.value)


def test_a_sample_is_of_devices_and_grows_with_its_rate(tmp_path: Path) -> None:
    keys = [f"a/{number}".encode() for number in range(4_000)]
    kept: list[set[bytes]] = []
    for rate in ("0.01", "0.1", "0.5", "0.9", "1"):
        settings = loaded(tmp_path, f"sample_rate = {rate}")
        edge = Edge(settings.privacy, settings.samplings)
        mine = {key for key in keys if not edge.is_out(key)}
        assert mine == set(keys) - set(edge.out_of(keys))
        assert abs(len(mine) / len(keys) - float(rate)) < 0.03
        kept.append(mine)
    assert all(fewer <= more for fewer, more in pairwise(kept))
    # The function is stated (deploy/PRIVACY.md), so that others can tell who is in.
    settings = loaded(tmp_path, "sample_rate = 0.5")
    out = Edge(settings.privacy, settings.samplings).out_of([b"a/0", b"a/1", b"a/2", b"a/3", None, b"x"])
    assert out == [b"a/0", b"a/1"]
