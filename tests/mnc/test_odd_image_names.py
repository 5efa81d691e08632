"""Images whose names are not UTF-8: an old camera card, an archive made on Windows."""

from __future__ import annotations

import os

import cv2
import numpy as np

from mnc.data.dataset import Annotation
from mnc.drawing.report import write_report
from mnc.instances import Detections
from mnc.results.voc import read_voc_det, write_voc_det

NAME = os.fsdecode(b"caf\xe9")


class OneImage:
    name, classes, names = "one:val", ("__background__", "boat"), [NAME]

    def __len__(self):
        return 1

    def image_path(self, i):
        return f"{NAME}.png"

    def image(self, i):
        return np.zeros((4, 5, 3), np.uint8)

    def annotation(self, i):
        return Annotation(np.zeros((0, 4), np.float32), np.zeros(0, int), None, (4, 5))


def test_detections_come_back(tmp_path):
    nothing = Detections(np.zeros((0, 5)), np.zeros((0, 0, 0)))
    found = Detections(np.array([[0, 0, 2, 3, 0.5]]), np.zeros((1, 0, 0)))
    (path,) = write_voc_det(tmp_path, OneImage(), [[nothing], [found]])
    assert path.read_bytes().startswith(b"caf\xe9 0.5")
    back = read_voc_det(tmp_path, OneImage())
    assert back[1][0].boxes.tolist() == found.boxes.tolist()


def test_a_report_is_written(tmp_path):
    picture = cv2.cvtColor(np.zeros((4, 5), np.uint8), cv2.COLOR_GRAY2BGR)
    write_report(tmp_path / "index.html", NAME, [(NAME, picture)])
    assert "caf?" in (tmp_path / "index.html").read_text(encoding="utf-8")
