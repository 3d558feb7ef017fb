"""The rules of the house, read off the source: imports point one way, clocks and environment stay at the edge."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pipeline"

# What each part may import of the package, besides itself: domain at the bottom, commands at the top.
MAY_IMPORT = {
    "errors": set[str](),
    "domain": set[str](),
    "topics": set[str](),
    "schema_files": set[str](),
    "tls": set[str](),
    "runtime": set[str](),
    "compiled": set[str](),
    "logs": set[str](),
    "embedded": set[str](),
    "simulate": set[str](),
    "formats": {"domain", "topics"},
    "storage": {"domain", "formats"},
    "state": {"domain", "formats", "storage"},
    "query": {"domain", "formats", "storage"},
    "kafka": {"topics", "tls"},
    "clickhouse": {"schema_files", "tls"},
    "symbols": {"formats", "clickhouse"},
    "roles": {
        *("domain", "formats", "storage", "state", "query"),
        *("kafka", "clickhouse", "topics", "schema_files", "symbols"),
    },
    "streaming": {
        *("domain", "formats", "storage", "state", "roles", "kafka", "clickhouse", "topics", "symbols"),
    },
    "dashboard": {"domain", "query"},
    # The same answers as the pages give, as JSON; keys are in the form of those of `receive`.
    "api": {"dashboard", "domain", "query", "receive", "schema_files"},
    # Tools are endpoints of the API, and know nothing of how it is reached.
    "mcp": {"api"},
    "setting_values": set[str](),
    "receive_settings": {"setting_values"},
    "api_settings": {"receive_settings", "setting_values"},
    "connection_settings": {"api_settings", "setting_values"},
    "setting_list": {"domain", "connection_settings", "setting_values"},
    "setting_privacy": {"domain"},
    "setting_secrets": set[str](),
    "setting_connections": {"setting_list"},
    "settings": {
        *("domain", "setting_list", "setting_privacy", "setting_values"),
        *("setting_secrets", "setting_connections"),
    },
    # What SDKs reach, by HTTP and as a library: both make records of raw topics, and know nothing of sessions.
    "receive": {"domain", "formats", "kafka", "topics"},
    "sdk": {"domain", "formats", "kafka", "topics"},
    "wiring": {"formats", "state", "roles", "kafka", "clickhouse", "embedded", "settings", "tls", "topics"},
    "commands": {
        *("domain", "formats", "storage", "state", "query", "kafka", "clickhouse", "roles", "streaming"),
        *(
            "api",
            "mcp",
            "dashboard",
            "receive",
            "sdk",
            "embedded",
            "simulate",
            "settings",
            "wiring",
            "topics",
        ),
        *("runtime", "compiled", "logs", "tls", "symbols", "__version__"),
    },
    "cli": {"commands", "formats", "logs", "runtime", "wiring", "settings", "__version__"},
    "__main__": {"cli"},
    "__init__": set[str](),
}
# What every part may import: it imports nothing itself.
EVERYWHERE = {"errors"}
# A library that reaches something, and the only folders that may import it.
ONLY_IMPORTED_BY = {
    "faust": {"streaming"},
    "mode": {"streaming"},
    "aiokafka": {"kafka", "streaming"},
    "clickhouse_connect": {"clickhouse"},
    "symbolic": {"symbols"},
    "chdb": {"embedded"},
    "prometheus_client": {"roles", "receive"},
    "mcp": {"mcp"},
    # By name, so that it may be missing: see test_the_compiled_core_is_imported_in_one_place.
    "session_pipeline_core": {"compiled"},
}
# The life of an assignment and the order of things after a rebalance, for any transport.
FREE_OF_FAUST = ("pipeline.streaming.assignment", "pipeline.streaming.recovery", "pipeline.cli")
WITHOUT_CLOCK = ("domain", "formats", "state", "storage", "query", "simulate")
CLOCKS = {"time", "datetime.now", "datetime.utcnow", "date.today"}
RANDOM_SOURCES = {"random", "secrets", "uuid.uuid1", "uuid.uuid4", "os.urandom"}
READ_ENVIRONMENT = {"wiring"}
# A child process gets its parent's environment; nothing is decided by it.
PASS_ENVIRONMENT_ON = {"embedded/child.py"}

SQL = re.compile(
    r"\bSELECT\b.*\bFROM\b|\bINSERT\s+INTO\b|\bDELETE\s+FROM\b|\b(ALTER|DROP|TRUNCATE|CREATE)\s+(TABLE|VIEW)\b"
    # A placeholder, which has a part of a statement around it.
    r"|\{\{?\w+:\s*(String|U?Int\d+|Float\d+|Bool|UUID|Date|DateTime|Array|Map|Nullable)\b",
    re.DOTALL,
)
# What decides or effects something with rows, or reads them back into what they were written from. Questions are in
# `query`; the engine's own are no part of the product's tables.
SQL_STANDS_IN = {
    *("query", "clickhouse", "embedded"),
    *("storage/stored_event.py", "storage/stored_session.py"),
    *("roles/rebuild.py", "roles/known_topics.py", "roles/ledger_guard.py"),
}

MAX_LINES = 400
MAX_FUNCTION_LINES = 55


def part_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def modules() -> list[Path]:
    found = sorted(PACKAGE.rglob("*.py"))
    assert len(found) > 40, "the package was not found"
    return found


@cache
def trees() -> tuple[tuple[Path, ast.Module], ...]:
    """Read once for all tests: nobody changes them."""
    return tuple((path, ast.parse(path.read_text(encoding="utf-8"))) for path in modules())


def attributes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of each attribute of something that has a name."""
    for node in ast.walk(tree):
        parts, inner = list[str](), node
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if parts and isinstance(inner, ast.Name):
            yield node.lineno, ".".join((inner.id, *reversed(parts)))  # type: ignore[attr-defined]


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
            if parts[1] not in {part, *EVERYWHERE, *MAY_IMPORT[part]}:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_no_test_module_imports_another() -> None:
    """What several of them need is in tests/support, so that each can be changed, and run, by itself."""
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if re.search(r"(?:import |\.)test_", text := path.read_text(encoding="utf-8"))
        for name in imports(ast.parse(text))
        if name.startswith("tests.") and any(part.startswith("test_") for part in name.split("."))
    ]
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


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Imports for types alone count: what needs them belongs together, or has one thing too many in it."""
    names = {module_name(path) for path in modules()} - {"pipeline"}
    graph: dict[str, set[str]] = {}
    for path, tree in trees():
        name = module_name(path)
        found = {part for full in imports(tree) for part in (full, full.rpartition(".")[0]) if part in names}
        # To import a module is to import the packages that it lies in, but for those that the importer lies in too.
        found |= {
            ".".join(parts[:n])
            for parts in (other.split(".") for other in found)
            for n in range(1, len(parts))
        }
        graph[name] = {other for other in found & names - {name} if not name.startswith(f"{other}.")}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_each_library_is_reached_from_its_own_folder() -> None:
    wrong = []
    for path, tree in trees():
        for name in imports(tree):
            library = name.split(".")[0]
            if library in ONLY_IMPORTED_BY and part_of(path) not in ONLY_IMPORTED_BY[library]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_the_command_line_and_what_the_simulation_drives_know_no_faust() -> None:
    """Faust, and aiohttp beneath it, cost a third of a second, which no command but `worker` has to pay."""
    wrong = []
    for name in FREE_OF_FAUST:
        script = f"import sys, {name}; print(*({{'faust', 'mode', 'aiohttp'}} & set(sys.modules)))"
        found = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
        )
        wrong += [f"{name} brings in {module}" for module in found.stdout.split()]
    assert not wrong, "\n".join(wrong)


def test_a_command_loads_what_it_needs_alone() -> None:
    """To load everything takes a second of processor time, longer than most commands run."""
    script = (
        "import sys; from typer.testing import CliRunner; from pipeline import cli;"
        "done = CliRunner().invoke(cli.app, sys.argv[1:]); assert done.exit_code == 0, done.output;"
        "print(*{'clickhouse_connect', 'aiokafka', 'starlette', 'pipeline.query'} & set(sys.modules))"
    )
    found = {}
    for arguments in (["--version"], ["worker", "--help"], ["retention", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        )
        found[arguments[0]] = done.stdout.split()
    assert found == {"--version": [], "worker": [], "retention": ["clickhouse_connect"]}


def test_the_compiled_core_is_imported_in_one_place() -> None:
    """Whoever else named it would decide by itself whether it is there."""
    named = [
        path.relative_to(PACKAGE).as_posix()
        for path in modules()
        if "session_pipeline_core" in path.read_text(encoding="utf-8")
    ]
    assert named == ["compiled.py"]


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
        wrong += [
            f"{path.relative_to(ROOT)}:{line} uses {name}"
            for line, name in attributes(tree)
            if name in banned
        ]
    assert not wrong, "\n".join(wrong)


def test_only_the_wiring_reads_the_environment() -> None:
    wrong = []
    for path, tree in trees():
        relative = path.relative_to(PACKAGE).as_posix()
        if part_of(path) in READ_ENVIRONMENT or relative in PASS_ENVIRONMENT_ON:
            continue
        wrong += [
            f"{relative}:{line}" for line, name in attributes(tree) if name in {"os.environ", "os.getenv"}
        ]
        if any(name in {"os.environ", "os.getenv"} for name in imports(tree)):
            wrong.append(relative)
    assert not wrong, "\n".join(wrong)


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of what is no docstring in a module; an f-string as a whole, with `_` for what is put in."""
    parts = set[int]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            parts.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            parts |= {id(part) for part in node.values}
            whole = (str(part.value) if isinstance(part, ast.Constant) else "_" for part in node.values)
            yield node.lineno, "".join(whole)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and id(node) not in parts:
            yield node.lineno, node.value if isinstance(node.value, str) else node.value.decode("latin-1")


def holds_sql(source: str) -> bool:
    return any(SQL.search(text) for _, text in texts(ast.parse(source)))


def test_sql_is_where_it_belongs() -> None:
    """Commands and dashboard ask by what `query` offers; elsewhere it is named above."""
    wrong, needed = [], set()
    for path, tree in trees():
        relative = path.relative_to(PACKAGE).as_posix()
        places = SQL_STANDS_IN & {part_of(path), relative}
        for line, text in texts(tree):
            if SQL.search(text):
                needed |= places
                if not places:
                    wrong.append(f"pipeline/{relative}:{line}: {' '.join(text.split())[:80]}")
    assert not wrong, "\n".join(wrong)
    assert needed == SQL_STANDS_IN, "a place that holds none needs no exception"


@pytest.mark.parametrize(
    "source",
    [
        'ask("SELECT a, b" " FROM t")',
        'ask(f"SELECT {columns} FROM ({inner})")',
        'ask("""\nSELECT a\nFROM t""")',
        'send(b"INSERT INTO t FORMAT JSONEachRow")',
        'send("DELETE FROM t")',
        'condition("offset = {offset:Int64}")',
        'condition(f"{column} = {{value:String}}")',
    ],
)
def test_sql_is_known_as_such(source: str) -> None:
    assert holds_sql(source)


def test_prose_is_no_sql() -> None:
    assert not holds_sql('"""SELECT a FROM t"""\nprint("Select from the list", f"{at:%Y}", "{name}")')


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
    allowed |= {"uv.lock"}  # uv looks for it beside pyproject.toml and nowhere else
    generated = {"build", "dist"}
    found = {
        entry.name
        for entry in ROOT.iterdir()
        if not entry.name.startswith(".") and not entry.name.endswith(".egg-info")
    }
    assert found - generated <= allowed
