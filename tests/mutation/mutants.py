"""Small faults put into a module's source, one at a time."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
_SAID = ("logger", "log", "warnings")
"""What is told to people is not what these tests are about."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module with one fault."""

    line: int
    change: str
    tree: ast.Module


def mutants_of(source: str) -> Iterator[Mutant]:
    """Every mutant of a module, in order of its lines; the same source gives the same ones."""
    tree = ast.parse(source)
    places = list(_places(tree))
    for at, (node, _) in enumerate(places):
        for number in range(len(_faults(node))):
            changed = copy.deepcopy(tree)
            twin, field = list(_places(changed))[at]
            fault = _faults(twin)[number]
            before = ast.unparse(twin)
            _replace(changed, field, fault)
            ast.fix_missing_locations(changed)
            after = "nothing" if isinstance(fault, ast.Pass) else ast.unparse(fault)
            yield Mutant(node.lineno, f"{_short(before)} -> {_short(after)}", changed)


Field = tuple[ast.AST, str, int | None]
"""Where a node hangs: its parent, the field, and the place in it if that is a list."""


def _places(tree: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, Field]]:
    """The nodes that a fault may be put in, with their place; never texts for people, types, or assertions."""
    for name, value in ast.iter_fields(tree):
        for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(node, ast.AST) or name in ("annotation", "returns", "decorator_list", "msg"):
                continue
            if isinstance(node, ast.Assert | ast.Import | ast.ImportFrom | ast.JoinedStr) or _is_said(node):
                continue
            if isinstance(node, ast.expr | ast.stmt):
                yield node, (tree, name, index)
            if isinstance(node, ast.Raise):
                continue
            yield from _places(node)


def _is_said(node: ast.AST) -> bool:
    if not isinstance(node, ast.Expr):
        return False
    call = node.value
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
        return isinstance(call.func.value, ast.Name) and call.func.value.id in _SAID
    return isinstance(call, ast.Constant)


def _faults(node: ast.expr | ast.stmt) -> list[ast.expr | ast.stmt]:
    return [*_of_expression(node), *_of_condition(node), *_of_statement(node)]


def _of_expression(node: ast.AST) -> Iterator[ast.expr]:
    match node:
        case ast.Compare(left, [op], [right]):
            for other in _COMPARISONS[type(op)]:
                yield ast.Compare(left, [other()], [right])
        case ast.Compare(left, [first, second], [middle, right]):
            yield ast.Compare(left, [first], [middle])
            yield ast.Compare(middle, [second], [right])
            yield ast.Compare(left, [_COMPARISONS[type(first)][0](), second], [middle, right])
            yield ast.Compare(left, [first, _COMPARISONS[type(second)][0]()], [middle, right])
        case ast.BoolOp(_, values):
            for without in range(len(values)):
                rest = values[:without] + values[without + 1 :]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
        case ast.UnaryOp(ast.Not(), operand):
            yield operand
        case ast.UnaryOp(ast.USub(), operand):
            yield operand
        case ast.BinOp(left, op, right) if type(op) in _OPERATORS:
            yield ast.BinOp(left, _OPERATORS[type(op)](), right)
        case ast.Constant(bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(int(value)):
            yield ast.Constant(value + 1)
        case ast.Call(ast.Name(name), arguments, keywords) if name in _CALLS:
            yield ast.Call(ast.Name(_CALLS[name], ast.Load()), arguments, keywords)
        case ast.Call(ast.Name("sorted"), [argument], _):
            yield ast.Call(ast.Name("list", ast.Load()), [argument], [])
        case ast.IfExp(_, body, orelse):
            yield body
            yield orelse


def _of_condition(node: ast.AST) -> Iterator[ast.stmt]:
    """A condition that never or always holds."""
    if not isinstance(node, ast.If | ast.While) or isinstance(node.test, ast.Constant):
        return
    if ast.unparse(node.test) != "TYPE_CHECKING":
        for value in (True, False) if isinstance(node, ast.If) else (False,):
            twin = copy.copy(node)
            twin.test = ast.Constant(value)
            yield twin


def _of_statement(node: ast.AST) -> Iterator[ast.stmt]:
    """A statement left out."""
    match node:
        case ast.Expr(ast.Call() | ast.Await()) | ast.AugAssign() | ast.Raise() | ast.Delete():
            yield ast.Pass()
        case ast.Assign([ast.Attribute() | ast.Subscript()], _):
            yield ast.Pass()
        case ast.Continue():
            yield ast.Break()
        case ast.Break():
            yield ast.Pass()
        case ast.Return(value) if value is not None and not isinstance(value, ast.Constant):
            yield ast.Return(ast.Constant(None))


def _replace(tree: ast.AST, field: Field, fault: ast.expr | ast.stmt) -> None:
    parent, name, index = field
    if index is None:
        setattr(parent, name, fault)
    else:
        getattr(parent, name)[index] = fault


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 110 else line[:107] + "..."
