"""A module's source → small changes of it, each of which should make a test fail."""

from __future__ import annotations

import ast
import copy
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Replacement = tuple[ast.AST, str, str]  # what is replaced, by which text, and the name of the change

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
}
OPPOSITES = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "floor": "ceil", "ceil": "floor"}
COMMUTATIVE = {"min", "max", "minimum", "maximum", "isinstance", "zip"}
# A change there could signal a process that is not ours.
UNTOUCHED_CALLS = {"kill", "killpg", "kill_family"}
# Said to people, or to the type checker: no test should depend on it.
SILENT_CALLS = {"_tell", "tell", "say", "TypeVar", "cast"}


@dataclass(frozen=True)
class Mutant:
    """One change of one file. ``start`` and ``end``: the bytes that ``new`` replaces. ``line``, and that of the
    statement's beginning, count from 1. ``in_function``: it runs when a function is called, not at import."""

    file: str
    line: int
    statement_line: int
    start: int
    end: int
    old: str
    new: str
    kind: str
    in_function: bool = True

    @property
    def key(self) -> str:
        """The same in every run, as long as the file does not change."""
        text = f"{self.file}:{self.start}:{self.end}:{self.old}:{self.new}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.new.encode() + source[self.end :]


def find_mutants(file: str, source: bytes) -> list[Mutant]:
    """All changes of a module, in the order of its text."""
    tree = ast.parse(source)
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    mutants = []
    for (statement_line, in_function), (node, new, kind) in _find(tree, (1, False)):
        start = starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        end = starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
        old = source[start:end].decode()
        line: int = node.lineno  # type: ignore[attr-defined]
        mutants.append(Mutant(file, line, statement_line, start, end, old, new, kind, in_function))
    return sorted(mutants, key=lambda mutant: (mutant.start, mutant.end, mutant.new))


def _find(node: ast.AST, place: tuple[int, bool]) -> Iterator[tuple[tuple[int, bool], Replacement]]:
    """Each with the line of its statement, and whether that is inside a function."""
    line, in_function = place
    place = (node.lineno if isinstance(node, ast.stmt) else line, in_function)
    for change in CHANGES:
        yield from ((place, found) for found in change(node))
    for name, value in ast.iter_fields(node):
        if _is_silent(node, name):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _find(child, (place[0], in_function or _is_body(node, name)))


def _is_body(node: ast.AST, field: str) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and field == "body"


def _is_silent(node: ast.AST, field: str) -> bool:
    """What only people and the type checker read: annotations, messages, f-strings (their positions are not exact)."""
    if field in ("annotation", "returns", "decorator_list", "bases"):
        return True
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Assert | ast.Import | ast.ImportFrom):
        return True
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return True
    return isinstance(node, ast.Call) and _called(node) in SILENT_CALLS | UNTOUCHED_CALLS


def _called(node: ast.Call) -> str:
    return getattr(node.func, "attr", None) or getattr(node.func, "id", "")


def _change_comparison(node: ast.AST) -> Iterator[Replacement]:
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            changed = copy.deepcopy(node)
            changed.ops[place] = COMPARISONS[type(operator)]()
            yield node, f"({ast.unparse(changed)})", "comparison"


def _change_arithmetic(node: ast.AST) -> Iterator[Replacement]:
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC and not _is_text(node):
        changed = copy.deepcopy(node)
        changed.op = ARITHMETIC[type(node.op)]()
        yield node, f"({ast.unparse(changed)})", "arithmetic"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield node, f"({ast.unparse(node.operand)})", "sign"


def _is_text(node: ast.BinOp) -> bool:
    sides = (node.left, node.right)
    return any(isinstance(side, ast.JoinedStr | ast.List | ast.Tuple) for side in sides) or any(
        isinstance(side, ast.Constant) and isinstance(side.value, str | bytes) for side in sides
    )


def _change_constant(node: ast.AST) -> Iterator[Replacement]:
    if not isinstance(node, ast.Constant):
        return
    value = node.value
    if isinstance(value, bool):
        yield node, str(not value), "constant"
    elif isinstance(value, int):
        yield node, str(value + 1), "constant"
        yield node, f"({value - 1})", "constant"
    elif isinstance(value, float):
        yield node, repr(value * 1.25 if value else 1.0), "constant"


def _change_logic(node: ast.AST) -> Iterator[Replacement]:
    if isinstance(node, ast.BoolOp):
        changed = copy.deepcopy(node)
        changed.op = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
        yield node, f"({ast.unparse(changed)})", "logic"
    if isinstance(node, ast.If | ast.While | ast.IfExp) and _can_be_negated(node.test):
        yield node.test, f"(not ({ast.unparse(node.test)}))", "condition"
    if isinstance(node, ast.comprehension):
        for test in node.ifs:
            yield test, f"(not ({ast.unparse(test)}))", "condition"


def _can_be_negated(test: ast.expr) -> bool:
    """Not where the test itself gives a name to what it finds: the code behind it would have nothing to work on."""
    return not isinstance(test, ast.Constant) and not any(isinstance(node, ast.NamedExpr) for node in ast.walk(test))


def _remove_call(node: ast.AST) -> Iterator[Replacement]:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _called(node.value) not in SILENT_CALLS:
        yield node, "pass", "removed call"
    if isinstance(node, ast.AugAssign):
        yield node, "pass", "removed step"


def _change_call(node: ast.AST) -> Iterator[Replacement]:
    if not isinstance(node, ast.Call) or _called(node) in UNTOUCHED_CALLS | SILENT_CALLS:
        return
    if _can_swap(node):
        changed = copy.deepcopy(node)
        changed.args[0], changed.args[1] = changed.args[1], changed.args[0]
        yield node, ast.unparse(changed), "swapped arguments"
    if _called(node) in OPPOSITES:
        changed = copy.deepcopy(node)
        if isinstance(changed.func, ast.Attribute):
            changed.func.attr = OPPOSITES[_called(node)]
        elif isinstance(changed.func, ast.Name):
            changed.func.id = OPPOSITES[_called(node)]
        yield node, ast.unparse(changed), "opposite function"


def _can_swap(node: ast.Call) -> bool:
    """Whether the first two arguments are two different ones, and their order counts."""
    first = node.args[:2]
    if len(first) < 2 or any(isinstance(arg, ast.Starred) for arg in first):
        return False
    return ast.dump(first[0]) != ast.dump(first[1]) and _called(node) not in COMMUTATIVE


CHANGES: tuple[Callable[[ast.AST], Iterator[Replacement]], ...] = (
    _change_comparison,
    _change_arithmetic,
    _change_constant,
    _change_logic,
    _remove_call,
    _change_call,
)
