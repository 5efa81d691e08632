"""Prototxts of people who used a fork of Caffe: those whose layers are here build.

`pytest -s` prints the coverage. Nets whose data or Python module is not at hand count apart.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

import caffe
from caffe.engine.compat.forks import forks_of_type
from caffe.engine.formats.prototxt import read_net
from caffe.engine.layer import LAYERS
from caffe.engine.net.net import Net

# What is wrong with the files themselves, or what their fork does that no fact sheet tells.
BROKEN = {
    "unknown bottom blob": "the file names a blob that no layer makes",
    r"Concat\): bottoms may differ on axis 1": "yolov3-tiny: the fork pads its pooling of stride 1",
    "cannot be reordered with stride 2": "yolov5_caffe's Reorg takes 3 channels",
    "priors and 2 classes need codes": "a PriorBox with fields of its own (FaceBoxes)",
}
ABSENT = re.compile(r"No such file|cannot import module|no HDF5|no (LMDB|LevelDB|database)|"
                    r"does not exist|cannot be (read|opened)")


WHOLE = ("builds", "data or module absent")
ORDER = (*WHOLE, "broken", "not here", "fails")


@pytest.fixture(scope="module")
def rows(real_material) -> list[dict[str, str]]:
    """Nets of the survey that missed something before the layers of forks came."""
    with open(real_material / "forks/prototxts.tsv", newline="") as file:
        return [row for row in csv.DictReader(file, delimiter="\t") if row["kind"] == "net"
                and (row["missing_types"] or row["missing_fields"])]


def outcome(path: Path) -> tuple[str, str]:
    """("builds" | "data or module absent" | "not here" | "broken" | "fails", why)"""
    try:
        Net(str(path), caffe.TRAIN if "train" in path.name else caffe.TEST)
    except (caffe.CaffeError, OSError, ImportError) as error:
        why = str(error).replace(str(path), "")
        if re.search("unknown layer type|has no field|has no value", why):
            return "not here", why
        if ABSENT.search(why):
            unknown = _unknown_types(path)
            return ("not here", f'type "{unknown[0]}"') if unknown \
                else ("data or module absent", why)
        known = [reason for sign, reason in BROKEN.items() if re.search(sign, why)]
        return ("broken", known[0]) if known else ("fails", why)
    return "builds", ""


def _unknown_types(path: Path) -> list[str]:
    return [layer.type for layer in read_net(path).layer if layer.type not in LAYERS]


def test_nets_of_forks_build(rows, real_material, no_values, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    counts: dict[str, Counter] = defaultdict(Counter)
    nets: Counter = Counter()
    repositories: dict[str, set] = defaultdict(set)
    failures, missing = [], Counter()
    for row in rows:
        found, why = outcome(real_material / "forks" / row["file"])
        repositories[found].add(row["repos"])
        nets[found] += 1
        for family in families(row["missing_types"]):
            counts[family][found] += 1
        if found == "fails":
            failures.append(f"{row['file']}: {why}")
        if found == "not here":
            missing[re.search(r'(?:type|field|value) "+(\w+)', why)[1]] += 1
    print_coverage(counts, repositories, nets)
    print("most often missing:", missing.most_common(12))
    assert not failures
    assert sum(nets[name] for name in WHOLE) >= 165


def families(types: str) -> list[str]:
    """The forks, at most one a type, that a net's types come from."""
    found = {forks[0] if (forks := forks_of_type(name)) else "others"
             for name in types.split(",") if name}
    return sorted(found) or ["fields only"]


def print_coverage(counts, repositories, nets) -> None:
    print("\n" + " | ".join(("fork", *ORDER)))
    for family, each in [*sorted(counts.items()), ("all", nets)]:
        print(" | ".join((family, *(str(each[name]) for name in ORDER))))
    every = set().union(*repositories.values())
    beyond = set().union(*(repositories[name] for name in ORDER if name not in WHOLE))
    print(f"{nets.total()} nets that BVLC's layers do not build, of {len(every)} repositories, of "
          f"which {len(every - beyond)} are whole now")
