"""What public functions say of themselves: the errors they raise, the shapes of their arrays.

Public is what has no underscore before its name, in modules that others than we ourselves import.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator

import caffe
import mnc

# Not called by users: commands (their --help speaks), layers (a docstring a class holds them),
# the public code's own names
OWN = ("caffe.commands", "caffe.layer_types", "caffe.proto", "caffe.cli", "caffe.__main__",
       "mnc.commands", "mnc.cli", "mnc.legacy")
NATIVE = ("caffe.ops._native", "caffe.ops.native", "caffe.ops.cuda", "caffe.ops.nvrtc")
# (N, 4), (K, *size), (), "of any shape", "the same shape", "a scalar", "like ..."
SHAPE = re.compile(r"\((?:[\w*.]|\([^()]*\))[^()]*,[^()]*\)|\bscalar\b|\b[Ss]hapes?\b|\blike\b")


def modules() -> Iterator[object]:
    for package in (caffe, mnc):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.startswith((*OWN, *NATIVE)) and ".legacy" not in found.name:
                yield importlib.import_module(found.name)


def public() -> Iterator[tuple[str, object, str]]:
    """(name, function, docstrings that speak for it: its own or inherited one, the class's)."""
    for module in modules():
        for name, thing in vars(module).items():
            if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
                continue
            if inspect.isfunction(thing):
                yield f"{module.__name__}.{name}", thing, inspect.getdoc(thing) or ""
            elif inspect.isclass(thing):
                about = inspect.getdoc(thing) or ""
                for method, each in vars(thing).items():
                    if inspect.isfunction(each) and not method.startswith("_"):
                        said = inspect.getdoc(getattr(thing, method)) or ""
                        yield f"{module.__name__}.{name}.{method}", each, f"{said}\n{about}"


def raised(function: object) -> set[str]:
    """Names of the errors of its own `raise` statements."""
    def walk(node: ast.AST) -> Iterator[ast.Raise]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Raise):
                yield child
            if not isinstance(child, (ast.FunctionDef, ast.Lambda)):
                yield from walk(child)

    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    errors = (node.exc.func if isinstance(node.exc, ast.Call) else node.exc
              for node in walk(tree) if node.exc is not None)
    names = {error.attr if isinstance(error, ast.Attribute) else getattr(error, "id", "")
             for error in errors}
    return {name for name in names if name[:1].isupper()} - {"NotImplementedError"}


def of_arrays(function: object) -> bool:
    return any(re.search(r"\b(ndarray|Tensor)\b", str(annotation))
               for annotation in function.__annotations__.values())


def test_what_raises_says_so():
    silent = {name: sorted(errors) for name, function, said in public()
              if (errors := {e for e in raised(function) if e not in said})}
    assert not silent, f"docstrings that name no error they raise: {silent}"


def test_functions_on_arrays_give_shapes():
    silent = [name for name, function, said in public()
              if of_arrays(function) and not SHAPE.search(said)]
    assert not silent, f"docstrings without the shapes of their arrays: {silent}"
