"""deploy/SETTINGS.md has every variable, as the program and the files of Docker have them."""

from __future__ import annotations

import re

from pipeline.settings import DEBUG, variables
from tests.contract.settings_document import DOCUMENT, GROUPS, ROOT, in_compose

TEXT = DOCUMENT.read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+)` \| (.*?) \|", TEXT, re.MULTILINE)


def test_it_has_a_table_of_each_group() -> None:
    assert re.findall(r"<!-- begin: (\w+) -->", TEXT) == list(GROUPS)


def test_each_variable_stands_there_once() -> None:
    # What the program reads besides its settings: see wiring.state_folder and wiring.shows_tracebacks.
    expected = [*variables(), *in_compose(), "XDG_STATE_HOME", DEBUG]
    assert sorted(name for name, _ in ROWS) == sorted(expected)


def test_defaults_of_docker_are_those_of_its_files() -> None:
    defaults = dict(ROWS)
    compose = in_compose()
    assert len(compose) > 5
    for variable, found in compose.items():
        assert found == {defaults[variable].strip("`")}, f"{variable}, and one default everywhere"


def test_no_other_environment_is_read() -> None:
    """The one place that reads it reads what is in the document."""
    source = (ROOT / "pipeline" / "wiring.py").read_text(encoding="utf-8")
    assert set(re.findall(r"environ(?:\.get\(|\[)\"(\w+)\"", source)) == {"XDG_STATE_HOME"}
