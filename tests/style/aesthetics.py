"""Measure how readable Python sources are: density, length, words, types and imports.

Every measure is a function from modules to a `Measure`: a figure, and the places that raise the
figure, worst first. `tests/style/test_limits.py` compares the figures with the limits of this
repository. The figures are signs, not proofs: a file can keep all limits and still read badly.

    python -m tests.style.aesthetics edgy_bus/database     # the table and the worst places
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef

DENSE_NODES = 20
"""Syntax nodes that a line of a statement may hold."""
LINE_LENGTH = 100
FUNCTION_LINES = 50
CLASS_METHODS = 24

PRONOUNS = frozenset(["one", "ones", "it", "what", "who", "whoever", "others", "somebody", "them"])
"""Words that make a reader look for the noun that they replace."""

VAGUE_NAMES = frozenset(
    [
        "one",
        "ones",
        "other",
        "others",
        "found",
        "given",
        "known",
        "own",
        "told",
        "made",
        "gone",
        "left",
        "who",
        "which",
        "what",
    ]
)
"""Names of variables that say nothing about the value: pronouns and participles."""

NOT_VERBS = frozenset(
    [
        "a",
        "all",
        "an",
        "as",
        "each",
        "every",
        "how",
        "in",
        "its",
        "no",
        "nothing",
        "of",
        "one",
        "that",
        "the",
        "those",
        "to",
        "what",
        "where",
        "whether",
        "which",
        "who",
        "whoever",
    ]
)
"""First words of a docstring that describes a thing; a function's docstring names an action."""


@dataclass(frozen=True)
class Module:
    """Hold a source file: the path, the dotted name, the text and the syntax tree."""

    path: Path
    name: str
    text: str
    tree: ast.Module

    @cached_property
    def rows(self) -> list[str]:
        """Return the lines of the text."""
        return self.text.splitlines()

    @cached_property
    def lines(self) -> "LineKinds":
        """Return the kinds of the lines."""
        return _classify_lines(self)


@dataclass(frozen=True, slots=True)
class LineKinds:
    """Hold the numbers of a module's lines of code and of comments, and the prose.

    `prose` has the docstrings and comments with the numbers of their first lines.
    """

    code: frozenset[int]
    comments: frozenset[int]
    prose: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Name a line that raises a figure, with a reason; a place with more `weight` is worse."""

    path: Path
    line: int
    reason: str
    weight: float = 1

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Measure:
    """Hold a figure and the places that raise the figure, worst first."""

    figure: float
    places: tuple[Place, ...] = ()


def read(*roots: Path, relative_to: Path) -> list[Module]:
    """Parse files, and the Python files of directories.

    Args:
        roots: files and directories.
        relative_to: the directory that holds the top-level packages; names and paths of the
            modules are relative to this directory.
    """
    paths: set[Path] = set()
    for root in roots:
        paths.update([root] if root.is_file() else root.rglob("*.py"))
    return [_parse(path, relative_to) for path in sorted(paths)]


def _parse(path: Path, relative_to: Path) -> Module:
    text = path.read_text("utf-8")
    relative = path.resolve().relative_to(relative_to.resolve())
    parts = relative.with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Module(relative, name, text, ast.parse(text))


# Lines

_PRAGMA = re.compile(r"#\s*(noqa|type:\s*ignore|pragma|pyright|fmt|isort|ruff|mypy)\b", re.I)
_LAYOUT = (
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
)


def _classify_lines(module: Module) -> LineKinds:
    """Separate code from comments and docstrings. A pragma such as `noqa` is no comment."""
    strings = _documentation(module.tree)
    documented = {line for node in strings for line in _lines_of(node)}
    prose = [(node.lineno, str(node.value)) for node in strings]
    code: set[int] = set()
    comments: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type == tokenize.COMMENT:
            if not _PRAGMA.match(token.string):
                comments[token.start[0]] = token.string.lstrip("# ").strip()
        elif token.type not in _LAYOUT:
            code.update(range(token.start[0], token.end[0] + 1))
    prose += _comment_blocks(comments)
    return LineKinds(frozenset(code - documented), frozenset(comments), tuple(sorted(prose)))


def _comment_blocks(comments: dict[int, str]) -> Iterator[tuple[int, str]]:
    """Join comments on consecutive lines, because a sentence may run over several lines."""
    block: list[int] = []
    for line in [*sorted(comments), -1]:
        if block and line != block[-1] + 1:
            yield block[0], " ".join(comments[number] for number in block)
            block = []
        block.append(line)


def _documentation(tree: ast.Module) -> list[ast.Constant]:
    """Collect docstrings, and the strings that document the attribute before them."""
    return [
        statement.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | FunctionNode)
        for statement in node.body
        if isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    ]


def _lines_of(node: ast.expr | ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def code_lines(modules: Sequence[Module]) -> int:
    """Count the lines that hold code."""
    return sum(len(module.lines.code) for module in modules)


def long_lines(modules: Sequence[Module]) -> Measure:
    """Measure the code lines longer than `LINE_LENGTH`, in percent."""
    places = [
        Place(module.path, number, f"{len(module.rows[number - 1])} characters")
        for module in modules
        for number in module.lines.code
        if len(module.rows[number - 1]) > LINE_LENGTH
    ]
    return _share(places, code_lines(modules))


def comment_density(modules: Sequence[Module]) -> Measure:
    """Measure the comment lines per 100 code lines. The places are files with few comments."""
    places = []
    for module in modules:
        code, comments = len(module.lines.code), len(module.lines.comments)
        reason = f"{comments} comment lines for {code} code lines"
        places.append(Place(module.path, 1, reason, weight=code / (comments + 1)))
    comments = sum(len(module.lines.comments) for module in modules)
    return Measure(_percent(comments, code_lines(modules)), _worst_first(places))


def anys(modules: Sequence[Module]) -> Measure:
    """Measure how often `Any` stands in 1,000 lines of code."""
    places = [
        Place(module.path, number, row.strip(), weight=len(re.findall(r"\bAny\b", row)))
        for module in modules
        for number, row in enumerate(module.rows, 1)
        if re.search(r"\bAny\b", row)
    ]
    count = sum(place.weight for place in places)
    return Measure(10 * _percent(count, code_lines(modules)), _worst_first(places))


# Statements, functions and classes


def dense_statements(modules: Sequence[Module]) -> Measure:
    """Measure the simple statements with more than `DENSE_NODES` nodes a line, in percent."""
    # Only simple statements: an `if` or a `with` contains other statements, which count themselves.
    simple = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Return, ast.Expr, ast.Raise, ast.Assert)
    places = []
    statements = 0
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, simple):
                statements += 1
                nodes, lines = _count_nodes(node), len(_lines_of(node))
                if nodes > DENSE_NODES * lines:
                    reason = f"{nodes} syntax nodes on {lines} line(s)"
                    places.append(Place(module.path, node.lineno, reason, weight=nodes / lines))
    return _share(places, statements)


def _count_nodes(statement: ast.stmt) -> int:
    # Every name has a context node, so counting contexts would count names twice.
    context = (ast.Load, ast.Store, ast.Del)
    return sum(not isinstance(node, context) for node in ast.walk(statement))


def long_functions(modules: Sequence[Module]) -> Measure:
    """Count the functions of more than `FUNCTION_LINES` lines; docstrings are not counted."""
    places = []
    for module in modules:
        for node in _functions(module.tree):
            lines = len(_lines_of(node)) - _docstring_lines(node)
            if lines > FUNCTION_LINES:
                reason = f"{node.name} has {lines} lines"
                places.append(Place(module.path, node.lineno, reason, weight=lines))
    return Measure(len(places), _worst_first(places))


def _functions(tree: ast.Module) -> Iterator[FunctionNode]:
    for node in ast.walk(tree):
        if isinstance(node, FunctionNode):
            yield node


def _docstring_lines(node: FunctionNode) -> int:
    return len(_lines_of(node.body[0])) if ast.get_docstring(node) is not None else 0


def large_classes(modules: Sequence[Module], *, exempt: Sequence[str] = ()) -> Measure:
    """Count the classes of more than `CLASS_METHODS` methods, except for the names in `exempt`."""
    places = []
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef) and node.name not in exempt:
                methods = sum(isinstance(part, FunctionNode) for part in node.body)
                if methods > CLASS_METHODS:
                    reason = f"{node.name} has {methods} methods"
                    places.append(Place(module.path, node.lineno, reason, weight=methods))
    return Measure(len(places), _worst_first(places))


# Words

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z`])")
_NOT_PROSE = re.compile(r"^\s*(>>>|\.\.\.|:\w+|\.\. |https?://|[-=*~^]{3,})")
_WORD = re.compile(r"[A-Za-z_][\w'.-]*")


def sentences(text: str) -> Iterator[list[str]]:
    """Split a docstring or a comment into sentences of words; short headings are left out."""
    rows = [row for row in text.splitlines() if not _NOT_PROSE.match(row)]
    for paragraph in re.split(r"\n\s*\n", "\n".join(rows)):
        for sentence in _SENTENCE.split(" ".join(paragraph.split())):
            words = _WORD.findall(sentence)
            if len(words) > 2:
                yield words


def pronouns(modules: Sequence[Module]) -> Measure:
    """Measure the pronouns in 100 words of docstrings and comments."""
    places = []
    count = 0
    for module in modules:
        for line, text in module.lines.prose:
            words = [word.lower() for sentence in sentences(text) for word in sentence]
            count += len(words)
            hits = [word for word in words if word in PRONOUNS]
            if hits:
                reason = f"{len(hits)} pronoun(s): {', '.join(hits)}"
                places.append(Place(module.path, line, reason, weight=len(hits)))
    hit_count = sum(place.weight for place in places)
    return Measure(_percent(hit_count, count), _worst_first(places))


def vague_names(modules: Sequence[Module]) -> Measure:
    """Measure the variables and parameters that have a name of `VAGUE_NAMES`, in percent."""
    names = [(module.path, *name) for module in modules for name in _assigned_names(module.tree)]
    places = [
        Place(path, line, f"the name {name!r}") for path, line, name in names if name in VAGUE_NAMES
    ]
    return _share(places, len(names))


def _assigned_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and name of every assigned variable, loop variable and parameter."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
    for function in _functions(tree):
        arguments = function.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            if argument.arg not in ("self", "cls"):
                yield argument.lineno, argument.arg


def missing_module_docstrings(modules: Sequence[Module]) -> Measure:
    """Count the modules that have more than three lines and no docstring."""
    places = [
        Place(module.path, 1, "no module docstring")
        for module in modules
        if len(module.rows) > 3 and not ast.get_docstring(module.tree)
    ]
    return Measure(len(places), tuple(places))


def docstrings_without_verb(modules: Sequence[Module]) -> Measure:
    """Measure the docstrings of functions that begin with a word of `NOT_VERBS`, in percent."""
    places = []
    count = 0
    for module in modules:
        for function in _functions(module.tree):
            words = (ast.get_docstring(function) or "").split(maxsplit=1)
            count += bool(words)
            if words and words[0].lower() in NOT_VERBS:
                reason = f"the docstring of {function.name} begins with {words[0]!r}, not a verb"
                places.append(Place(module.path, function.lineno, reason))
    return _share(places, count)


# Imports


def import_cycles(modules: Sequence[Module]) -> Measure:
    """Measure the largest import cycle, imports for typing and inside functions included.

    A cycle is a strongly connected set of modules (Tarjan, 1972); a package's `__init__` counts as
    a module.
    """
    names = {module.name for module in modules}
    graph = {module.name: _imports(module, names) for module in modules}
    paths = {module.name: module.path for module in modules}
    cycles = _Components(graph).cycles
    places = [
        Place(paths[cycle[0]], 1, "import cycle: " + ", ".join(cycle), weight=len(cycle))
        for cycle in cycles
    ]
    return Measure(max(map(len, cycles), default=0), _worst_first(places))


def _imports(module: Module, names: set[str]) -> set[str]:
    """Return the modules among `names` that a module imports anywhere, functions included."""
    targets: set[str] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            targets.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _imported_from(node, module)
            for alias in node.names:
                exact = f"{base}.{alias.name}"
                targets.add(exact if exact in names else base)
    return targets & names - {module.name}


def _imported_from(node: ast.ImportFrom, module: Module) -> str:
    """Resolve the module of `from … import`, relative forms included."""
    if not node.level:
        return node.module or ""
    is_package = module.path.name == "__init__.py"
    package = module.name if is_package else module.name.rpartition(".")[0]
    parts = package.split(".")
    kept = parts[: len(parts) - node.level + 1]
    return ".".join([*kept, *([node.module] if node.module else [])])


class _Components:
    """Find strongly connected sets of more than one node by Tarjan's depth-first search."""

    def __init__(self, graph: dict[str, set[str]]) -> None:
        self.cycles: list[list[str]] = []
        self._graph = graph
        self._index: dict[str, int] = {}
        self._lowest: dict[str, int] = {}
        self._stack: list[str] = []
        for node in graph:
            if node not in self._index:
                self._visit(node)

    def _visit(self, node: str) -> None:
        self._index[node] = self._lowest[node] = len(self._index)
        self._stack.append(node)
        for target in sorted(self._graph[node]):
            if target not in self._index:
                self._visit(target)
                self._lowest[node] = min(self._lowest[node], self._lowest[target])
            elif target in self._stack:
                self._lowest[node] = min(self._lowest[node], self._index[target])
        if self._lowest[node] == self._index[node]:
            self._close(node)

    def _close(self, root: str) -> None:
        start = self._stack.index(root)
        component = self._stack[start:]
        del self._stack[start:]
        if len(component) > 1:
            self.cycles.append(sorted(component))


# Figures


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else 0.0


def _share(places: Sequence[Place], whole: int) -> Measure:
    return Measure(_percent(len(places), whole), _worst_first(places))


def _worst_first(places: Sequence[Place]) -> tuple[Place, ...]:
    return tuple(sorted(places, key=lambda place: (-place.weight, str(place.path), place.line)))


MEASURES = {
    "statements > 20 nodes a line, %": dense_statements,
    "code lines > 100 characters, %": long_lines,
    "comment lines per 100 code lines": comment_density,
    "pronouns per 100 words": pronouns,
    "vague variable names, %": vague_names,
    "docstrings without a verb, %": docstrings_without_verb,
    "Any per 1,000 code lines": anys,
    "largest import cycle": import_cycles,
    "functions > 50 lines": long_functions,
    "classes > 24 methods": large_classes,
    "modules without docstring": missing_module_docstrings,
}


def main(arguments: Sequence[str]) -> None:
    """Print every measure of files and directories, with the worst places."""
    paths = [Path(argument) for argument in arguments or ["edgy_bus"]]
    modules = read(*paths, relative_to=Path.cwd())
    print(f"{len(modules)} modules, {code_lines(modules)} code lines")
    for name, measure in MEASURES.items():
        result = measure(modules)
        print(f"\n{name}: {result.figure:.2f}")
        for place in result.places[:20]:
            print(f"  {place}")


if __name__ == "__main__":
    main(sys.argv[1:])
