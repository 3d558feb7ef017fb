"""The rules of the house, read off the source: imports point one way, clocks and environment stay at the edge."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pipeline"

# What each part may import of the package, besides itself.
MAY_IMPORT = {
    "domain": set[str](),
    "topics": set[str](),
    "schema_files": set[str](),
    "wire": {"domain"},
    "simulate": set[str](),
    "state": {"domain", "wire"},
    "sink": {"domain", "wire"},
    "query": {"domain", "wire"},
    "settings": {"domain"},
    "adapters": {"domain", "wire", "state", "sink", "query", "topics", "schema_files"},
    "dashboard": {"domain", "query"},
    "wiring": {"domain", "wire", "state", "sink", "query", "adapters", "settings", "topics"},
    "commands": {
        "domain",
        "wire",
        "query",
        "dashboard",
        "adapters",
        "settings",
        "wiring",
        "topics",
        "simulate",
    },
    "cli": {"commands", "wiring", "settings"},
    "__main__": {"cli"},
    "__init__": set[str](),
}
ONLY_ADAPTERS_IMPORT = {"faust", "mode", "aiokafka", "clickhouse_connect", "chdb", "prometheus_client"}
# Exceptions and plain tuples that the commands have to name.
NAMED_BY_COMMANDS = {"aiokafka.errors", "faust.types"}
# The life of an assignment and the order of things after a rebalance, for any transport.
FREE_OF_TRANSPORT = ("pipeline.adapters.assignment", "pipeline.adapters.recovery")
WITHOUT_CLOCK = ("domain", "wire", "state", "sink", "query", "simulate")
CLOCKS = {"time", "datetime.now", "datetime.utcnow", "date.today"}
RANDOM_SOURCES = {"random", "secrets", "uuid.uuid1", "uuid.uuid4", "os.urandom"}
READ_ENVIRONMENT = {"wiring"}
# A child process gets its parent's environment; nothing is decided by it.
PASS_ENVIRONMENT_ON = {"adapters/embedded/child.py"}

MAX_LINES = 400
MAX_FUNCTION_LINES = 55


def part_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def modules() -> list[Path]:
    found = sorted(PACKAGE.rglob("*.py"))
    assert len(found) > 40, "the package was not found"
    return found


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in modules():
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names of what is imported, modules and members alike."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_imports_point_one_way() -> None:
    wrong = []
    for path, tree in trees():
        part = part_of(path)
        assert part in MAY_IMPORT, f"{path} is in no known part of the house"
        for name in imports(tree):
            parts = name.split(".")
            if parts[0] != "pipeline" or len(parts) == 1:
                continue
            if parts[1] not in {part, *MAY_IMPORT[part]}:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_domain_imports_the_standard_library_alone() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, tree in trees()
        if part_of(path) == "domain"
        for name in imports(tree)
        if name.split(".")[0] not in sys.stdlib_module_names | {"pipeline"}
    ]
    assert not wrong, "\n".join(wrong)


def test_only_adapters_talk_to_services() -> None:
    wrong = []
    for path, tree in trees():
        part = part_of(path)
        for name in imports(tree):
            named = part == "commands" and any(name.startswith(f"{module}.") for module in NAMED_BY_COMMANDS)
            if part != "adapters" and not named and name.split(".")[0] in ONLY_ADAPTERS_IMPORT:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_what_the_simulation_drives_knows_no_transport() -> None:
    wrong = []
    for name in FREE_OF_TRANSPORT:
        script = f"import sys, {name}; print(*({{'faust', 'mode', 'aiokafka'}} & set(sys.modules)))"
        found = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
        )
        wrong += [f"{name} brings in {module}" for module in found.stdout.split()]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("sources", [CLOCKS, RANDOM_SOURCES], ids=["clocks", "randomness"])
def test_pure_parts_know_neither_time_nor_chance(sources: set[str]) -> None:
    wrong = []
    for path, tree in trees():
        part = part_of(path)
        if part not in WITHOUT_CLOCK:
            continue
        # The simulator draws from seeded generators only; that it repeats itself is tested with it.
        banned = {s for s in sources if not (part == "simulate" and s == "random")}
        for name in imports(tree):
            if name.split(".")[0] in banned or name in banned:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in banned:
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} uses {ast.unparse(node)}")
    assert not wrong, "\n".join(wrong)


def test_only_the_wiring_reads_the_environment() -> None:
    wrong = []
    for path, tree in trees():
        relative = path.relative_to(PACKAGE).as_posix()
        if part_of(path) in READ_ENVIRONMENT or relative in PASS_ENVIRONMENT_ON:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in {"os.environ", "os.getenv"}:
                wrong.append(f"{relative}:{node.lineno}")
        if any(name in {"os.environ", "os.getenv"} for name in imports(tree)):
            wrong.append(relative)
    assert not wrong, "\n".join(wrong)


def test_files_and_functions_stay_small() -> None:
    wrong = []
    for path, tree in trees():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MAX_LINES:
            wrong.append(f"{path.relative_to(ROOT)}: {lines} lines, at most {MAX_LINES}")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {length} lines")
    assert not wrong, "\n".join(wrong)


def test_the_top_level_is_the_fixed_one() -> None:
    allowed = {"pyproject.toml", "README.md", "docker-compose.yml", "pipeline", "schemas", "deploy", "tests"}
    allowed |= {"LICENSE", "CHANGELOG.md"}
    generated = {"build", "dist"}
    found = {
        entry.name
        for entry in ROOT.iterdir()
        if not entry.name.startswith(".") and not entry.name.endswith(".egg-info")
    }
    assert found - generated <= allowed
