"""What `up` asks of those beyond this machine, and tells them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.commands.let_in import keys_needed, lines_for_senders
from pipeline.embedded.child import StartError, free_port, require_free
from pipeline.receive.keys import Keys


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "laptop.example"])
def test_nobody_beyond_this_machine_sends_without_a_key(tmp_path: Path, host: str) -> None:
    file = keys_needed(host, "", tmp_path)
    keys = Keys.read(Path(file).read_text("utf-8"))
    said = lines_for_senders(host, 4318, file)
    key = said.partition("Bearer%20")[2].split()[0]
    grant = keys.of(key)
    assert grant and not grant.refused({"any.app"})
    assert f"Bearer {key}" in said and "://0.0.0.0" not in said and "://[::]" not in said
    assert keys_needed(host, "", tmp_path) == file and keys.of(key), "the same at the next start"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_on_this_machine_none_is_made(tmp_path: Path, host: str) -> None:
    assert (keys_needed(host, "", tmp_path), lines_for_senders(host, 4318, "")) == ("", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        '[[keys]]\nkey = "sha256:00"\napps = ["*"]',
        '[[keys]]\nkey = "first-key"\n[[keys]]\nkey = "second-key"',
        "no TOML",
    ],
)
def test_keys_of_the_operator_s_own_file_are_not_said(tmp_path: Path, text: str) -> None:
    (file := tmp_path / "own.toml").write_text(text)
    assert keys_needed("0.0.0.0", str(file), tmp_path) == str(file)
    said = lines_for_senders("192.0.2.7", 4318, str(file))
    assert str(file) in said and "Bearer%20KEY" in said and "-key" not in said.replace(str(file), "")


def test_an_address_of_another_machine_is_named_before_anything_starts() -> None:
    with pytest.raises(
        StartError, match=r"receive cannot listen on 203\.0\.113\.7:\d+: .*address of this machine"
    ):
        require_free(free_port(), "receive", "203.0.113.7")
