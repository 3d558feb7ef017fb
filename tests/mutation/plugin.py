"""What a run of the tests on a mutant does otherwise: the module is another one, and examples are few."""

from __future__ import annotations

import ast
import sys
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
        name = module.removesuffix(".py").replace("/", ".")
        SourceFileLoader.__init__(self, name, str(path))
        self._tree = tree

    def install(self) -> None:
        assert self.name not in sys.modules, "it would be of no effect"
        sys.meta_path.insert(0, self)

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        return spec_from_file_location(fullname, self.path, loader=self)

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._tree, self.path, "exec")


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
