"""The rules of the house that a linter does not know, held over the packages caffe, mnc and pylayer.

An exception is listed beside the rule with its reason. One that is no longer needed fails, too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import caffe  # noqa: F401      registers the layers
from caffe.extend import LAYERS

ROOT = Path(__file__).resolve().parents[1]
CAFFE, MNC, PYLAYER = (ROOT / p for p in ("caffe-mnc/python/caffe", "lib/mnc", "lib/pylayer"))
FILES = [p for folder in (CAFFE, MNC, PYLAYER) for p in sorted(folder.rglob("*.py"))
         if p.name != "caffe_pb2.py"]       # made by protoc

MOST_LINES, MOST_STATEMENTS_LINES, MOST_PARAMETERS, MOST_FLOORS = 350, 40, 6, 7


def name(path: Path) -> str:
    base = CAFFE.parent if CAFFE in path.parents else MNC.parent
    return path.relative_to(base).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef]]:
    """(Class.method or function, node) of a file, nested ones too."""
    def walk(node: ast.AST, outer: str) -> Iterator[tuple[str, ast.FunctionDef]]:
        for child in ast.iter_child_nodes(node):
            inner = f"{outer}{child.name}." if isinstance(
                child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) else outer
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield inner.rstrip("."), child
            yield from walk(child, inner)
    yield from walk(tree(path), "")


def hold(found: dict[str, object], exceptions: dict[str, str], rule: str) -> None:
    broken = {place: what for place, what in found.items() if place not in exceptions}
    assert not broken, f"{rule}: {broken}"
    idle = set(exceptions) - set(found)
    assert not idle, f"exceptions that nothing needs any more, take them out: {idle}"


# --- sizes ---------------------------------------------------------------------------------------

LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {}
FIXED_SIGNATURES = {
    "caffe/classifier.py Classifier.__init__": "pycaffe's",
    "caffe/detector.py Detector.__init__": "pycaffe's",
    **dict.fromkeys((f"caffe/model_libs/{place}" for place in (
        "bodies.py VGGNetBody", "bodies.py ZFNetBody", "layers.py ConvBNLayer", "layers.py ResBody",
        "multibox.py CreateAnnotatedDataLayer", "multibox.py CreateMultiBoxHead")),
        "SSD's model_libs, which its scripts call by keyword"),
    **dict.fromkeys((f"caffe/ops/{place}" for place in (
        "mask_voting.py mask_voting", "mask_voting.py mask_voting_forward", "mask_voting.py _",
        "native.py _", "cuda.py _")), "arguments of an operator of torch.library, all of one schema"),
    **dict.fromkeys((f"mnc/legacy/forms.py {place}" for place in (
        "gpu_mask_voting", "cpu_mask_voting", "mv")), "the public MNC code's"),
}


def test_files_are_short():
    lines = {name(p): n for p in FILES
             if (n := len(p.read_text(encoding="utf-8").splitlines())) > MOST_LINES}
    hold(lines, LONG_FILES, f"a file has at most {MOST_LINES} lines")


def test_functions_are_short():
    lines = {f"{name(p)} {f}": n for p in FILES for f, node in functions(p)
             if (n := node.end_lineno - node.body[0].lineno + 1) > MOST_STATEMENTS_LINES}
    hold(lines, LONG_FUNCTIONS, f"a function's body has at most {MOST_STATEMENTS_LINES} lines")


def parameters(node: ast.FunctionDef) -> list[str]:
    given = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return given[1:] if given[:1] in (["self"], ["cls"]) else given


def test_functions_take_few_parameters():
    many = {f"{name(p)} {f}": n for p in FILES for f, node in functions(p)
            if (n := len(parameters(node))) > MOST_PARAMETERS}
    hold(many, FIXED_SIGNATURES, f"a function takes at most {MOST_PARAMETERS} parameters; more are "
                                 "fields of a frozen dataclass")


# --- layers are asked ----------------------------------------------------------------------------

TYPES_COMPARED: dict[str, str] = {
    "mnc/benchmarks/suite.py": "torch's own operator beside each layer, which no layer need know",
}


def strings(node: ast.AST) -> set[str]:
    """The text of a constant, of the elements of a container, of the keys of a dictionary."""
    nodes = [k for k in node.keys if k] if isinstance(node, ast.Dict) else \
        node.elts if isinstance(node, (ast.Tuple, ast.List, ast.Set)) else [node]
    return {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def compared_types(path: Path) -> set[str]:
    """Layer types a file compares with: beside an operator, in a `case`, in a table of a module."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Compare):
            found.update(*(strings(side) for side in (node.left, *node.comparators)))
        elif isinstance(node, ast.MatchValue):
            found |= strings(node.value)
    for node in tree(path).body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value and isinstance(
                node.value, (ast.Tuple, ast.List, ast.Set, ast.Dict)):
            table = strings(node.value)
            found |= table if table <= set(LAYERS.names()) else set()
    return found & set(LAYERS.names()) - registered_in(path)


def registered_in(path: Path) -> set[str]:
    return {text for node in ast.walk(tree(path))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            and node.func.attr == "register" for argument in node.args
            for text in strings(argument)}


def test_layers_are_asked_not_compared_by_type():
    found = {name(p): sorted(types) for p in FILES if (types := compared_types(p))}
    hold(found, TYPES_COMPARED, "only a layer's own module compares its type; ask the layer, by an "
                                "attribute or method of its class")


@pytest.mark.parametrize("code, found", [
    ("x.type == 'Pooling'", {"Pooling"}), ("x in ('ReLU', 'Foo')", {"ReLU"}),
    ("COLORS = {'Scale': 1, 'Bias': 2}", {"Scale", "Bias"}), ("a = f('Pooling')", set()),
    ("match x:\n    case 'Data': pass", {"Data"}),
    ("@LAYERS.register('Crop')\ndef f(x):\n    return x == 'Crop'", set())])
def test_comparisons_are_found(code, found, tmp_path):
    path = tmp_path / "module.py"
    path.write_text(code)
    assert compared_types(path) == found


# --- privacy -------------------------------------------------------------------------------------

PRIVATE_NAMES: dict[str, str] = {
    "caffe/layer_types/packed.py": "oneDNN's packed products, which torch has under no public name; "
                                   "without them weights stay as they are",
}


def is_private(text: str) -> bool:
    return text.startswith("_") and not text.startswith("__")


def private_uses(path: Path) -> set[str]:
    """Private names of other modules that a file imports, and attributes that it defines nowhere."""
    nodes = list(ast.walk(tree(path)))
    ours = {n.attr for n in nodes if isinstance(n, ast.Attribute)
            and isinstance(n.value, ast.Name) and n.value.id in ("self", "cls")}
    ours |= {n.name for n in nodes if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    ours |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    modules = {alias.asname or alias.name.partition(".")[0]: alias.name for n in nodes
               if isinstance(n, ast.Import) for alias in n.names}
    foreign = {short for short, full in modules.items()
               if full.partition(".")[0] not in ("caffe", "mnc", "pylayer")}
    used = {alias.name for n in nodes if isinstance(n, ast.ImportFrom)
            and (n.module or "").partition(".")[0] in ("caffe", "mnc", "pylayer")
            for alias in n.names if is_private(alias.name)}
    used |= {n.attr for n in nodes if isinstance(n, ast.Attribute) and is_private(n.attr)
             and not (isinstance(n.value, ast.Name) and n.value.id in {"self", "cls", *foreign})
             and n.attr not in ours}
    return used


def test_private_names_are_used_where_they_are_defined():
    found = {name(p): sorted(names) for p in FILES if (names := private_uses(p))}
    hold(found, PRIVATE_NAMES, "what another module needs has a public name")


# --- floors --------------------------------------------------------------------------------------

# imports that are to go, of one room from another
KNOWN_IMPORTS: dict[tuple[str, str], str] = {}


def room(module: str) -> str | None:
    """The folder or module directly in lib/mnc that a dotted name lies in."""
    parts = module.split(".")
    return parts[1] if parts[0] == "mnc" and len(parts) > 1 else None


def imports_when_loaded(path: Path) -> Iterator[str]:
    """Modules a file imports when it is imported itself: not inside functions, not for types."""
    waiting: list[ast.AST] = list(tree(path).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, (ast.Try, ast.If)) and "TYPE_CHECKING" not in ast.dump(node):
            waiting += node.body


def floors() -> dict[str, int]:
    """Folder or module of lib/mnc -> 1 + the highest floor it imports. Raises on a circle."""
    below: dict[str, set[str]] = {}
    for path in MNC.rglob("*.py"):
        own = room(".".join(path.relative_to(MNC.parent).with_suffix("").parts))
        below.setdefault(own, set()).update(r for m in imports_when_loaded(path)
                                            if (r := room(m)) and (MNC / r).exists() | (
                                                MNC / f"{r}.py").exists())
    for (upper, lower), reason in KNOWN_IMPORTS.items():
        assert lower in below[upper], f"nothing needs this any more, take it out: {reason}"
        below[upper].discard(lower)
    found: dict[str, int] = {}

    def floor(each: str, above: tuple[str, ...] = ()) -> int:
        assert each not in above, f"a circle of imports: {' -> '.join((*above, each))}"
        if each not in found:
            found[each] = 1 + max((floor(r, (*above, each)) for r in below[each] - {each}),
                                  default=0)
        return found[each]
    for each in below:
        floor(each)
    return found


def test_mnc_has_few_floors():
    """A room is a folder or a module directly in lib/mnc; it lies above all that it imports."""
    found = floors()
    assert max(found.values()) <= MOST_FLOORS, sorted(found.items(), key=lambda pair: pair[1])


# --- one reader -----------------------------------------------------------------------------------

def imports(path: Path) -> set[str]:
    """Every module a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return names


def test_what_one_other_room_reads_says_why_it_is_not_there():
    """The docstring of a module of mnc with a single reader, in another folder, names that one.

    What a package gives out by its __init__ is read under the package's name, by anybody.
    """
    modules = {".".join(p.relative_to(MNC.parent).with_suffix("").parts): p
               for folder in (MNC, PYLAYER) for p in folder.rglob("*.py")
               if p.name != "__init__.py" and "legacy" not in p.parts}
    readers: dict[str, set[str]] = {module: set() for module in modules}
    for module, path in modules.items():
        for name in imports(path) & set(modules) - {module}:
            readers[name].add(module)
    for package in MNC.rglob("__init__.py"):
        for name in imports(package) & set(modules):
            readers[name] |= {"anybody", "else"}
    silent = {module: reader for module, found in readers.items() if len(found) == 1
              for reader in found if reader.rpartition(".")[0] != module.rpartition(".")[0]
              and reader not in (ast.get_docstring(tree(modules[module])) or "")}
    assert not silent, f"modules that do not say why they lie apart from their one reader: {silent}"


# --- tests ---------------------------------------------------------------------------------------

PATIENCE = 300      # seconds: what takes longer on a loaded machine hangs
HURRIED: dict[str, str] = {}


def hurried(path: Path) -> list[int]:
    """Lines of a test that a slow or paused machine fails: limits below PATIENCE, durations that must be short."""
    lines = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            waits = isinstance(node.func, ast.Attribute) and node.func.attr in ("wait", "join", "result")
            limits = [k.value for k in node.keywords if k.arg == "timeout"] + node.args[:waits]
            lines += [each.lineno for each in limits if isinstance(each, ast.Constant)
                      and isinstance(each.value, (int, float)) and 0 < each.value < PATIENCE]
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.Lt, ast.LtE)):
            clocks = {n.attr for n in ast.walk(node.left) if isinstance(n, ast.Attribute)}
            if isinstance(node.left, ast.BinOp) and clocks & {"monotonic", "perf_counter", "time"}:
                lines.append(node.lineno)
    return lines


def test_tests_wait_for_events_and_not_for_the_clock():
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    found = {p.relative_to(ROOT).as_posix(): lines for p in files if (lines := hurried(p))}
    hold(found, HURRIED, "a limit in a test is for what hangs, minutes; the time of the processor may be measured")
