"""Mutation testing: code is broken in one place at a time, and the tests have to notice.

    python -m usage_pipeline_tests.reliability.mutation [--sample N] [--seed S] [--workers W] [MODULE ...]

For every module under vendors/ and stages/ the tests of its room run once, to note which function each of them calls.
Then each mutant has a process of its own, forked from one that has the libraries loaded, in which the tests that call
the mutated function run until one fails; no file is changed. A table of what was killed is printed, and every survivor
as it stood and as it was mutated. Exit status 0 only where at least 85 % were killed.

Not mutated, as no number depends on it: docstrings, annotations, decorators, `if TYPE_CHECKING`, `__all__`, and what is
for people to read: the texts of errors and the places in answers that they name, the members in PROSE, and texts of
three words or more that are no predicate.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import pickle
import random
import resource
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).parents[2]
ROOMS = ("vendors", "stages")
ENOUGH = 85
MOST_CPU_SECONDS, MOST_SECONDS, MOST_MEMORY = 150, 1_800, 8 << 30
PROSE = {"description", "title", "documentation", "permission", "provider", "service"}
LOADED = """
    deltalake duckdb httpx hypothesis msgspec obstore pandas pyarrow pyarrow.compute pydantic pytest starlette uvicorn
    zstandard usage_pipeline.contract.arrow usage_pipeline.contract.vendor usage_pipeline.kit
"""

COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.Pow: ast.Mult,
}  # fmt: skip
NAMES = {
    "min": "max", "max": "min", "any": "all", "all": "any", "lower": "upper", "removeprefix": "removesuffix",
    "start": "end", "end": "start", "first": "last", "last": "first", "flatnonzero": "argsort", "less": "greater",
    "greater": "less", "and_": "or_", "or_": "and_",
}  # fmt: skip

Change = Callable[[Any], None]


@dataclass(frozen=True)
class Mutant:
    """One change of a module: the `number`-th at its `place`-th node.

    `functions` are the lines on which the functions around it start, outermost first.
    """

    module: Path
    place: int
    number: int
    line: int
    functions: tuple[int, ...]

    def tree(self) -> tuple[ast.Module, str, str]:
        """The mutated module, and the statement before and after."""
        tree = _parsed(self.module)
        node, statement, _functions = list(_places(tree, tree, ()))[self.place]
        was = ast.unparse(statement)
        list(_changes(node))[self.number](node)
        return ast.fix_missing_locations(tree), was, ast.unparse(statement)

    def __str__(self) -> str:
        _tree, was, now = self.tree()
        same = next((n for n, (old, new) in enumerate(zip(was, now, strict=False)) if old != new), 0)
        cut = slice(max(0, same - 100), same + 60)
        return f"{self.module.relative_to(ROOT)}:{self.line}\n  - {was[cut]}\n  + {now[cut]}"


@dataclass
class Calls:
    """Which tests call which functions, by file and first line; `loaded` are called while modules load."""

    tests: dict[tuple[str, int], set[str]] = field(default_factory=lambda: defaultdict(set))
    loaded: set[tuple[str, int]] = field(default_factory=set)
    every: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def of(self, mutant: Mutant) -> list[str]:
        """The tests that can notice a mutant, the fastest first."""
        keys = [(str(mutant.module), line) for line in mutant.functions]
        # What is called on threads that are none of Python's is not noted, but its outer function is.
        calling = [self.tests[key] for key in reversed(keys) if self.tests.get(key)]
        found = self.every if not keys or keys[-1] in self.loaded else calling[0] if calling else set()
        return sorted(found, key=lambda test: self.seconds.get(test, 0))


def _changes(node: ast.AST) -> Iterator[Change]:
    """What can be broken at one node, each as the function that does it in place."""
    match node:
        case ast.Compare(ops=[op, *_]) if type(op) in COMPARISONS:
            yield lambda it: it.ops.__setitem__(0, COMPARISONS[type(it.ops[0])]())
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in ARITHMETIC:
            yield lambda it: setattr(it, "op", ARITHMETIC[type(it.op)]())
        case ast.BoolOp():
            yield lambda it: setattr(it, "op", ast.And() if isinstance(it.op, ast.Or) else ast.Or())
        case ast.Constant(value=bool()):
            yield lambda it: setattr(it, "value", not it.value)
        case ast.Constant(value=int()):
            yield lambda it: setattr(it, "value", it.value + 1)
        case ast.Constant(value=str() as text) if not _is_prose(text):
            yield lambda it: setattr(it, "value", f"XX{it.value}")
        case ast.Name(id=name, ctx=ast.Load()) if name in NAMES:
            yield lambda it: setattr(it, "id", NAMES[it.id])
        case ast.Attribute(attr=name, ctx=ast.Load()) if name in NAMES:
            yield lambda it: setattr(it, "attr", NAMES[it.attr])
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield lambda it: setattr(it, "value", ast.Constant(None))
        case ast.Raise() | ast.Expr(value=ast.Call()) | ast.Continue():
            yield _drop
    if isinstance(node, ast.Call):
        yield from (partial(_without, n) for n, given in enumerate(node.keywords) if given.arg not in PROSE | {None})
        for n, argument in enumerate(node.args):
            if not isinstance(argument, ast.Constant | ast.Starred) and not _is_place(argument):
                yield partial(_none, n)
    if isinstance(node, ast.If | ast.IfExp | ast.While) and not isinstance(node.test, ast.Compare | ast.BoolOp):
        yield lambda it: setattr(it, "test", ast.UnaryOp(ast.Not(), it.test))
    if isinstance(node, ast.comprehension):
        yield from (partial(_negate, n) for n in range(len(node.ifs)))


def _without(n: int, call: ast.Call) -> None:
    call.keywords.pop(n)


def _none(n: int, call: ast.Call) -> None:
    call.args[n] = ast.Constant(None)


def _negate(n: int, loop: ast.comprehension) -> None:
    loop.ifs[n] = ast.UnaryOp(ast.Not(), loop.ifs[n])


def _drop(statement: ast.stmt) -> None:
    """Do nothing instead: the statement is kept, as a constant, so that blocks are never empty."""
    where = {name: getattr(statement, name) for name in ("lineno", "col_offset", "end_lineno", "end_col_offset")}
    statement.__class__ = ast.Expr
    statement.__dict__ = {"value": ast.Constant(...), **where}


def _places(
    node: ast.AST, statement: ast.AST, functions: tuple[int, ...]
) -> Iterator[tuple[ast.AST, ast.AST, tuple[int, ...]]]:
    """Nodes that may be mutated, each with the statement that it stands in and the lines of its functions."""
    yield node, statement, functions
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "type_params"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or _is_text(child):
                continue
            inner = functions
            if isinstance(child, ast.FunctionDef):
                inner = (*functions, min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)]))
            yield from _places(child, child if isinstance(child, ast.stmt) else statement, inner)


def _is_prose(text: str) -> bool:
    return text.startswith(("$.", "$[")) or text == "$" or (len(text.split()) > 2 and not set(text) & set("<=>"))


def _is_place(node: ast.AST) -> bool:
    """Whether it is for people: by its name, or an f-string that begins with the place of something in an answer."""
    match node:
        case ast.Name(id="path" | "place" | "where" | "description"):
            return True
        case ast.JoinedStr(values=[ast.FormattedValue(value=first), *_]):
            return _is_place(first)
        case ast.JoinedStr(values=[ast.Constant(value=str() as text), *_]):
            return _is_prose(text)
    return False


def _is_text(node: ast.AST) -> bool:
    """What is not mutated, as the module's docstring says."""
    match node:
        case ast.Expr(value=ast.Constant()) | ast.If(test=ast.Name(id="TYPE_CHECKING")) | ast.JoinedStr():
            return True
        case (
            ast.Assign(targets=[ast.Name(id="__all__" | "DOCUMENTATION")])
            | ast.Import()
            | ast.ImportFrom()
            | ast.Assert()
        ):
            return True
        case ast.keyword(arg=arg):
            return arg in PROSE
        case ast.Call(func=ast.Name(id=name)):
            return name.endswith("Error")
    return False


def mutants(module: Path) -> list[Mutant]:
    """Every mutant of a module, in the order of the text."""
    tree = _parsed(module)
    return [
        Mutant(module, place, number, getattr(node, "lineno", getattr(statement, "lineno", 0)), functions)
        for place, (node, statement, functions) in enumerate(_places(tree, tree, ()))
        for number, _change in enumerate(_changes(node))
    ]


def _parsed(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


class _Broken(SourceFileLoader):
    """Loads one module from a mutated tree; also the finder that finds only that."""

    def __init__(self, mutant: Mutant) -> None:
        self.tree = mutant.tree()[0]
        parts = mutant.module.relative_to(ROOT).with_suffix("").parts
        super().__init__(".".join(parts[:-1] if parts[-1] == "__init__" else parts), str(mutant.module))

    def find_spec(self, fullname: str, _path: object, _target: object = None) -> ModuleSpec | None:
        return spec_from_file_location(fullname, self.path, loader=self) if fullname == self.name else None

    def get_code(self, _fullname: str) -> CodeType:
        return compile(self.tree, self.path, "exec")


class _Noting:
    """A pytest plugin that notes which functions every test calls, the setting up of its fixtures included.

    What is called while a fixture of several tests is set up counts for all tests of the file.
    """

    def __init__(self) -> None:
        self.calls = Calls()
        self.now: set[tuple[str, int]] = self.calls.loaded
        self.listen()

    def listen(self) -> None:
        sys.settrace(self.trace)
        threading.settrace(self.trace)

    def trace(self, frame: FrameType, _event: str, _value: object) -> None:
        code = frame.f_code
        if "/usage_pipeline/" in code.co_filename:
            self.now.add((code.co_filename, code.co_firstlineno))

    def pytest_collection_finish(self, session: Any) -> None:
        self.calls.every = [item.nodeid for item in session.items]

    def pytest_runtest_logstart(self) -> None:
        self.now = set()
        self.began = time.perf_counter()
        self.listen()  # again: where the stack is full, tracing ends

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "teardown":
            self.calls.seconds[report.nodeid] = time.perf_counter() - self.began
        file = report.nodeid.partition("::")[0]
        told = [n for n in self.calls.every if n.startswith(file)] if report.when == "setup" else [report.nodeid]
        for key in self.now:
            self.calls.tests[key].update(told)


class _Quick:
    """A pytest plugin: hypothesis neither shrinks nor remembers, the failure alone counts."""

    def pytest_configure(self) -> None:
        from hypothesis import Phase, settings

        settings.register_profile("mutation", deadline=None, database=None, phases=[Phase.explicit, Phase.generate])
        settings.load_profile("mutation")


def _pytest(tests: Sequence[str], plugin: object) -> int:
    import pytest

    options = "-x -q --assert=plain --hypothesis-seed=0 -p no:cacheprovider -p no:xdist"
    return int(pytest.main([*options.split(), *tests], [plugin]))


def _child(work: Callable[[], int]) -> int:
    """Fork, work with the output thrown away, and end with the status; returns the process's id."""
    process = os.fork()
    if process:
        return process
    os.setpgid(0, 0)
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silence, stream)
    status = 1
    try:
        status = work()
    finally:
        os._exit(status)


def _limit() -> None:
    """Bound what a mutant may use: seconds of the processor, as others may keep it busy, and at last of the clock."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU_SECONDS, MOST_CPU_SECONDS))
    signal.alarm(MOST_SECONDS)


def noted(tests: Sequence[str]) -> Calls:
    """Run the tests on the code as it is, which must pass, and note who calls what."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "calls")

        def work() -> int:
            plugin = _Noting()
            status = _pytest(tests, plugin)
            plugin.calls.tests = dict(plugin.calls.tests)
            file.write_bytes(pickle.dumps(plugin.calls))
            return status

        _, status = os.waitpid(_child(work), 0)
        if status:
            raise SystemExit(f"the tests {' '.join(tests)} fail before anything is broken")
        found: Calls = pickle.loads(file.read_bytes())
        return found


def survivors(broken: Sequence[Mutant], calls: Calls, workers: int) -> tuple[list[Mutant], int]:
    """The mutants that no test notices, and how many others came to no end: those are noticed too."""
    alive: list[Mutant] = []
    endless: list[Mutant] = []
    running: dict[int, Mutant] = {}

    def reap() -> None:
        process, status = os.wait()
        mutant = running.pop(process)
        if os.WIFSIGNALED(status):
            endless.append(mutant)
        elif not status:
            alive.append(mutant)

    for mutant in broken:
        tests = calls.of(mutant)
        if not tests:
            alive.append(mutant)
            continue

        def work(mutant: Mutant = mutant, tests: list[str] = tests) -> int:
            _limit()
            sys.meta_path.insert(0, _Broken(mutant))
            return _pytest(tests, _Quick())

        running[_child(work)] = mutant
        if len(running) >= workers:
            reap()
    while running:
        reap()
    return sorted(alive, key=lambda mutant: (mutant.place, mutant.number)), len(endless)


def tests_of(module: Path) -> list[str]:
    """What pytest is asked for: of a vendor the tests of its name, of a stage those of all stages."""
    room, *rest = module.relative_to(ROOT / "usage_pipeline").with_suffix("").parts
    if room == "stages":
        return ["usage_pipeline_tests/stages"]
    files = [
        *ROOT.glob(f"usage_pipeline_tests/vendors/test_{rest[0]}*.py"),
        *ROOT.glob(f"usage_pipeline_tests/oracle/test_{rest[0]}.py"),
    ]
    suite = "usage_pipeline_tests/test_contract.py::test_"
    contract = [
        f"{suite}every_declared_dimension_and_label_is_told_and_no_other",
        f"{suite}rows_keep_the_schema_s_promises",
    ]
    facts = "usage_pipeline_tests/vendors/test_facts.py"
    return [*(str(file.relative_to(ROOT)) for file in sorted(files)), facts, *contract, "-k", f"{rest[0]} or facts"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", type=Path, help="files to mutate (default: all of vendors/ and stages/)")
    parser.add_argument("--sample", type=int, help="at most so many mutants a module, drawn by the seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    os.chdir(ROOT)
    for name in LOADED.split():
        importlib.import_module(name)
    everything = [file for room in ROOMS for file in sorted((ROOT / "usage_pipeline" / room).rglob("*.py"))]
    known: dict[tuple[str, ...], Calls] = {}
    totals: Counter[str] = Counter()
    for module in [file.resolve() for file in asked.modules] or everything:
        broken = mutants(module)
        if asked.sample and len(broken) > asked.sample:
            broken = random.Random(asked.seed).sample(broken, asked.sample)
        if not broken:
            continue
        tests = tests_of(module)
        calls = known.get(tuple(tests)) or known.setdefault(tuple(tests), noted(tests))
        alive, endless = survivors(broken, calls, asked.workers)
        for mutant in alive:
            print(mutant)
        killed = len(broken) - len(alive)
        told = f"{killed} of {len(broken)} killed, {killed / len(broken):.0%}"
        print(f"{module.relative_to(ROOT)}: {told}" + f" ({endless} came to no end)" * bool(endless), flush=True)
        totals.update(killed=killed, all=len(broken))
    rate = 100 * totals["killed"] / max(totals["all"], 1)
    print(f"in all {totals['killed']} of {totals['all']} killed, {rate:.1f} % (seed {asked.seed})")
    return int(rate < ENOUGH)


if __name__ == "__main__":
    sys.exit(main())
