"""Dependencies point one way (docs/architecture.md)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CAFFE, LIB = ROOT / "caffe-mnc/python/caffe", ROOT / "lib"


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("folder, forbidden", [
    (CAFFE, ("mnc", "pylayer")),
    (CAFFE / "ops", ("caffe.engine", "caffe.layer_types", "caffe.proto")),
    (CAFFE / "engine", ("caffe.layer_types", "caffe.data")),
    (CAFFE / "data", ("caffe.layer_types", "caffe.engine.layer", "caffe.engine.net")),
    (CAFFE / "engine", ("caffe.commands", "caffe.cli")),
    (CAFFE / "layer_types", ("caffe.commands", "caffe.cli")),
    (CAFFE / "layer_types", ("caffe.engine.net", "caffe.engine.solving")),
    (LIB / "mnc", ("pylayer", "caffe.engine")),         # what others need is in caffe.extend
    (LIB / "pylayer", ("caffe.engine",)),
    (LIB / "mnc/boxes", ("mnc.config", "caffe.engine", "mnc.data")),
    (LIB / "mnc/masks", ("mnc.config", "caffe.engine", "mnc.data")),
    (LIB / "mnc/sampling", ("mnc.config", "caffe.engine", "mnc.data")),
])
def test_dependencies_point_one_way(folder, forbidden):
    assert list(folder.rglob("*.py"))
    for path in folder.rglob("*.py"):
        wrong = {n for n in imported(path) for f in forbidden if n == f or n.startswith(f + ".")}
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def floors_of(package: Path) -> dict[str, int]:
    """The floor of each module: one more than the highest it imports at its top."""
    files = {".".join(path.relative_to(package.parent).with_suffix("").parts): path
             for path in package.rglob("*.py")}
    files = {name.removesuffix(".__init__"): path for name, path in files.items()}
    below = {name: _imported_at_the_top(path, files) - {name} for name, path in files.items()}
    floors: dict[str, int] = {}

    def floor(name: str, above: tuple[str, ...] = ()) -> int:
        assert name not in above, f"{' imports '.join((*above, name))}: a circle"
        if name not in floors:
            floors[name] = 1 + max((floor(each, (*above, name)) for each in below[name]), default=0)
        return floors[name]

    for name in files:
        floor(name)
    return floors


def _imported_at_the_top(path: Path, known: dict[str, Path]) -> set[str]:
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                found.add(module if module in known else node.module)
    return found & set(known)


def test_mnc_has_few_floors():
    floors = floors_of(LIB / "mnc")
    high = {name: floor for name, floor in floors.items() if floor > 7}
    assert len(floors) > 80 and not high


def test_nothing_below_the_net_knows_it():
    for name in ("blob", "layer", "registry", "fillers", "net/build", "net/parameters"):
        wrong = {n for n in imported(CAFFE / "engine" / f"{name}.py")
                 if n.startswith(("caffe.engine.net.net", "caffe.engine.solving"))}
        assert not wrong, f"engine/{name}.py imports {wrong}"
