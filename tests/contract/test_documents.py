"""Documents that are made of the program say what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract import documents
from tests.contract.documents import MADE


@pytest.mark.parametrize("path", MADE, ids=lambda path: path.name)
def test_a_document_is_as_it_would_be_made(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == MADE[path](), "write it: python -m tests.contract.documents"


@pytest.mark.parametrize("path", [documents.METRICS, documents.RIGHTS, documents.ALERTS, documents.FILTERS])
def test_what_is_missing_comes_back(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row, or a name in one, that somebody took out or wrote otherwise."""
    whole = path.read_text(encoding="utf-8")
    name = {
        documents.METRICS: "| `pipeline_receive_connections` | gauge |  | Open connections. |\n",
        documents.RIGHTS: "| Topic | `event-copies` | Read |\n",
        documents.ALERTS: "`hung_sessions`, ",
        documents.FILTERS: "`device.region`, ",
    }[path]
    changed = tmp_path / path.name
    changed.write_text(whole.replace(name, "", 1), encoding="utf-8")
    [constant] = [key for key, value in vars(documents).items() if value == path]
    monkeypatch.setattr(documents, constant, changed)
    assert changed.read_text(encoding="utf-8") != MADE[path]() == whole
