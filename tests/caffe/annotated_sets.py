"""Small sets of annotated images for tests: written as VOC has them, or straight into an LMDB."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from caffe.commands.database_writer import create
from caffe.proto import caffe_pb2

XML = """<annotation><size><width>{width}</width><height>{height}</height><depth>3</depth></size>
{objects}</annotation>"""
OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{box[0]}</xmin>
<ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"""


def label_map(path: Path, names: list[str]) -> Path:
    """background, then the names, numbered from 1"""
    items = [("none_of_the_above", 0, "background"), *((n, i, n) for i, n in enumerate(names, 1))]
    path.write_text("".join(f'item {{ name: "{name}" label: {i} display_name: "{shown}" }}\n'
                            for name, i, shown in items))
    return path


def write_voc(folder: Path, name: str, image: np.ndarray, objects: list) -> str:
    """JPEGImages/NAME.png and Annotations/NAME.xml; the line of a list. objects: name, box in
    pixels, difficult"""
    for each in ("JPEGImages", "Annotations"):
        (folder / each).mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / f"JPEGImages/{name}.png"), image)
    text = "".join(OBJECT.format(name=n, box=b, difficult=int(d)) for n, b, d in objects)
    (folder / f"Annotations/{name}.xml").write_text(
        XML.format(height=image.shape[0], width=image.shape[1], objects=text))
    return f"JPEGImages/{name}.png Annotations/{name}.xml\n"


def annotated(image: np.ndarray, objects: list) -> caffe_pb2.AnnotatedDatum:
    """An image (H, W, C) with objects: label, box in shares, difficult"""
    height, width, channels = image.shape
    result = caffe_pb2.AnnotatedDatum(type=caffe_pb2.AnnotatedDatum.BBOX)
    result.datum.MergeFrom(caffe_pb2.Datum(channels=channels, height=height, width=width,
                                           data=image.transpose(2, 0, 1).tobytes()))
    for label, (xmin, ymin, xmax, ymax), difficult in objects:
        result.annotation_group.add(group_label=label).annotation.add(
            bbox={"xmin": xmin, "ymin": ymin, "xmax": xmax, "ymax": ymax, "difficult": difficult})
    return result


def write_lmdb(path: Path, records: list) -> Path:
    with create(path, "lmdb") as writer:
        for i, record in enumerate(records):
            writer.put(f"{i:08d}", record)
    return path
