"""The glossary and CONTRIBUTING name files and types that are there, and each word once."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = (ROOT / "pipeline" / "GLOSSARY.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", [GLOSSARY, CONTRIBUTING], ids=["glossary", "contributing"])
def test_paths_are_there(text: str) -> None:
    paths = set(re.findall(r"`((?:pipeline|tests|schemas|deploy|\.ci)/[\w./-]*)", text))
    assert len(paths) > 10
    assert not [path for path in sorted(paths) if not (ROOT / path).exists()]


def test_names_are_where_the_glossary_says() -> None:
    named = re.findall(r"`(pipeline/[\w./]+\.py): (\w+)`", GLOSSARY)
    assert len(named) > 20
    missing = []
    for path, name in named:
        defined = set()
        for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                defined.add(node.name)
            elif isinstance(node, ast.Assign):
                defined |= {target.id for target in node.targets if isinstance(target, ast.Name)}
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                defined.add(node.target.id)
        if name not in defined:
            missing.append(f"{path}: {name}")
    assert not missing


def test_a_word_stands_in_the_glossary_once() -> None:
    rows = re.findall(r"^\| (?!word|---)(.*?) \|", GLOSSARY, re.MULTILINE)
    words = [word for row in rows for word in row.split(", ")]
    assert len(words) > 40
    assert sorted(words) == sorted(set(words))


def test_no_two_public_types_share_a_name() -> None:
    """Who reads `Choice` should not have to look which one is meant."""
    places: dict[str, list[str]] = {}
    for path in sorted((ROOT / "pipeline").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    assert len(places) > 100
    assert not {name: found for name, found in places.items() if len(found) > 1}
