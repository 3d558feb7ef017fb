"""Which faults `python -m tests.mutation` puts into a module."""

from __future__ import annotations

import ast

from tests.mutation.mutants import mutants_of

SOURCE = '''
"""Not this."""
import logging
log = logging.getLogger("not this")
LIMIT: int = 5


def f(a: int, b: int, *, loud: bool = True) -> int:
    """Nor this."""
    log.info("nor %d", 7)
    assert a > 0, "nor this"
    if a < b and not loud:
        self.at = a + 1
        raise ValueError(f"nor {a + 1}")
    while a:
        a -= 1
    return min(a, b) if 0 <= a < b else 2
'''
EXPECTED = """
5: 5 -> 6
8: True -> False
12: if a < b and (not loud): self.at = a + 1 raise ValueError(f'nor {a + 1}') -> if True: *
12: if a < b and (not loud): self.at = a + 1 raise ValueError(f'nor {a + 1}') -> if False: *
12: a < b and (not loud) -> not loud
12: a < b and (not loud) -> a < b
12: a < b -> a <= b
12: a < b -> a >= b
12: not loud -> loud
13: self.at = a + 1 -> nothing
13: a + 1 -> a - 1
13: 1 -> 2
14: raise ValueError(f'nor {a + 1}') -> nothing
15: while a: a -= 1 -> while False: a -= 1
16: a -= 1 -> nothing
16: 1 -> 2
17: return min(a, b) if 0 <= a < b else 2 -> return None
17: min(a, b) if 0 <= a < b else 2 -> min(a, b)
17: min(a, b) if 0 <= a < b else 2 -> 2
17: 0 <= a < b -> 0 <= a
17: 0 <= a < b -> a < b
17: 0 <= a < b -> 0 < a < b
17: 0 <= a < b -> 0 <= a <= b
17: 0 -> 1
17: min(a, b) -> max(a, b)
17: 2 -> 3
"""


def test_each_place_has_its_faults_and_what_is_told_to_people_none() -> None:
    made = list(mutants_of(SOURCE))
    told = [f"{mutant.line}: {mutant.change}" for mutant in made]
    wanted = EXPECTED.strip().splitlines()
    for found, expected in zip(told, wanted, strict=True):
        assert found.startswith(expected.removesuffix("*"))


def test_each_is_the_module_with_one_fault() -> None:
    whole = ast.unparse(ast.parse(SOURCE)).splitlines()
    sources = {ast.unparse(mutant.tree) for mutant in mutants_of(SOURCE)}
    assert len(sources) == len(list(mutants_of(SOURCE))) and "\n".join(whole) not in sources
    for source in sources:
        compile(source, "mutant", "exec")
        other = [line for line in source.splitlines() if line not in whole]
        assert len(other) <= 1
