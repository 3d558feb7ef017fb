"""What a run of the tests on a mutant does otherwise: the module is another one, and examples are few."""

from __future__ import annotations

import ast
import sys
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from hypothesis import Phase, settings

FEW_EXAMPLES = 25
FEW_SEEDS = 40


class Swap(MetaPathFinder, SourceFileLoader):
    """Gives one module another content. It must not have been imported yet."""

    def __init__(self, module: str, path: Path, tree: ast.Module) -> None:
        """`module` is its path in the repository."""
        SourceFileLoader.__init__(self, name_of(module), str(path))
        self._tree = tree

    def install(self) -> None:
        """From here on it is the module; whatever has imported the other is imported anew."""
        for name in users_of(self.name):
            package, _, last = name.rpartition(".")
            del sys.modules[name]
            vars(sys.modules.get(package)).pop(last, None)
        sys.meta_path.insert(0, self)

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        return spec_from_file_location(fullname, self.path, loader=self)

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._tree, self.path, "exec")


def name_of(module: str) -> str:
    """A path in the repository as a module's name."""
    return module.removesuffix(".py").replace("/", ".")


@cache
def users_of(module: str) -> set[str]:
    """Names of a module and of all loaded ones that import it, by whatever way; of tests, all."""
    ours = {
        name: {where for node in ast.walk(_parsed(loaded)) for where in _imported(node)}
        for name, loaded in sys.modules.items()
        if name.startswith(("pipeline.", "tests.")) and not name.startswith("tests.mutation")
    }
    found = {name for name in ours if name == module or ".test_" in name}
    while more := {name for name, imported in ours.items() if imported & found} - found:
        found |= more
    return found


def _parsed(module: Any) -> ast.AST:
    path = getattr(module, "__file__", None)
    return ast.parse(Path(path).read_text()) if path else ast.Module([], [])


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [each.name for each in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
    return []


class Draws:
    """The same examples each time, none of them kept, without a search for the smallest that fails; few if so asked."""

    def __init__(self, *, few: bool) -> None:
        self._few = few

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            test: Any = getattr(item, "obj", None)
            before = getattr(test, "_hypothesis_internal_use_settings", None)
            if before is not None:
                most = before.max_examples
                test._hypothesis_internal_use_settings = settings(
                    before,
                    max_examples=min(most, FEW_EXAMPLES) if self._few else most,
                    phases=(Phase.explicit, Phase.generate),
                    derandomize=True,
                    database=None,
                )
            module: Any = getattr(item, "module", None)
            if self._few and hasattr(module, "BUDGET"):
                module.BUDGET = FEW_SEEDS
