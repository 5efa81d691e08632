"""Names of output files: relative, inside the folder, each of its own, whatever data sets say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mnc.commands.report import Report, write_pictures
from mnc.data import DataError
from mnc.instances import Detections
from mnc.results.detections import Saved
from mnc.results.names import flat_name, flat_names, line_names, output_names, output_paths
from mnc.results.voc import write_instance_pictures, write_voc_det
from mnc.tasks import TASKS

HOSTILE = ["/home/me/photo", "../../photo", "..", "", ".", "a/../../b", "C:\\photos\\x", "a//b",
           "nul\0line\nbreak", "x" * 300, "/", "~/x", "-o", "ä" * 200, "a/./b"]


@pytest.mark.parametrize("names", [["a", "b/c", "street.north/d e"], ["2008_000123", "n-1"]])
def test_good_names_stay(names):
    assert output_names(names) == names


def test_no_name_leads_out_of_the_folder(tmp_path):
    for name in output_names(HOSTILE):
        place = (tmp_path / f"{name}.png").resolve()
        assert place.is_relative_to(tmp_path.resolve()) and place != tmp_path
        assert all(0 < len(part.encode()) <= 204 for part in place.relative_to(tmp_path).parts)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(name)
    assert output_names(["/home/me/photo", "../b", "c/../d"]) == ["home/me/photo", "b", "c/d"]


@pytest.mark.parametrize("names, unique", [
    (["a", "a"], ["a", "a_2"]),                             # a.jpg beside a.png
    (["a", "A", "b"], ["a", "A_2", "b"]),                   # one file on many disks
    (["a", "a", "a_2"], ["a", "a_3", "a_2"]),               # a good name stays
    (["../a", "a"], ["a", "a_2"]),
    (["\u00e9", "e\u0301"], ["\u00e9", "e\u0301_2"]),       # the same letter, composed
    (["x", "x.png/y"], ["x_2", "x.png/y"]),                 # x.png cannot be a file and a folder
    (["", ".."], ["_", "__2"])])
def test_each_has_a_name_of_its_own(names, unique):
    assert output_names(names) == unique
    assert len({name.casefold() for name in output_names(HOSTILE * 2)}) == 2 * len(HOSTILE)


def test_flat_names():
    assert flat_name("mine/val images") == "mine_val images" and flat_name("..") == "_"
    assert flat_names(["cat", "Cat", "car/truck"]) == ["cat", "Cat_2", "car_truck"]
    assert len(flat_name("x" * 500)) == 100


def test_names_in_lines():
    assert line_names(["a b", "c\nd", " e "]) == ["a b", "c d", "e"]
    assert line_names(["a", "a"]) == ["a", "a_2"]


class Photographs:
    """COCO data whose file names are absolute, as somebody else's annotations have them."""

    name, classes = "coco:mine/all.json:mine/images", ("__background__", "wild/cat")

    def __init__(self, folder: Path) -> None:
        self.paths = [folder / "photo.png", folder / "b.png"]
        self.names = [str(path.with_suffix("")) for path in self.paths]
        for path in self.paths:
            path.write_bytes(b"my own photograph")

    def __len__(self):
        return 2

    def image_path(self, i):
        return str(self.paths[i])

    def image(self, i):
        return np.zeros((12, 16, 3), np.uint8)

    def annotation(self, i):
        from mnc.data import Annotation

        return Annotation(np.zeros((0, 4), np.float32), np.zeros(0, int), [], (12, 16))


FOUND = [[Detections(np.zeros((0, 5)), np.zeros((0, 4, 4)))] * 2,
         [Detections(np.array([[1, 2, 8, 9, 0.75]]), np.ones((1, 4, 4)))] * 2]


def test_a_users_photographs_are_not_written_over(tmp_path):
    data, out = Photographs(tmp_path), tmp_path / "out"
    write_instance_pictures(out / "SegInst", data, FOUND, 0.4)
    write_voc_det(out / "voc_det", data, FOUND)
    write_pictures(Report(out, data, data.name, 0.4), Saved(FOUND, TASKS["vis_seg"]))
    for path in data.paths:
        assert path.read_bytes() == b"my own photograph"
    assert {path.name for path in tmp_path.iterdir()} == {"out", "photo.png", "b.png"}
    inside = str(tmp_path).lstrip("/")
    for place in ("pictures", "SegInst/inst", "SegInst/cls"):
        assert (out / place / inside / "photo.png").is_file()


def test_output_over_input_is_refused(tmp_path):
    data = Photographs(tmp_path)
    data.names = ["photo", "b"]
    with pytest.raises(DataError, match="photo.png is an image of coco:.* would be written over"):
        output_paths(tmp_path, data, ".png")
    assert output_paths(tmp_path, data, ".txt")[0] == tmp_path / "photo.txt"
