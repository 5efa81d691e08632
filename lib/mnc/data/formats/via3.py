"""Projects of VIA 3, as records of VIA 2 that mnc.data.formats.via reads.

    {"project", "config", "file": {"1": {"fname", "src", "type": 2}},
     "view": {"1": {"fid_list": [1]}},
     "attribute": {"1": {"aname": "kind", "type": 4, "options": {"0": "kite"}}},
     "metadata": {"1_ab": {"vid": "1", "z": [], "xy": [7, x1, y1, x2, y2, ...], "av": {"1": "0"}}}}

The first number of xy says what the others are: 1 point, 2 rectangle (x, y, width, height), 3
circle, 4 ellipse, 5 line, 6 polyline, 7 polygon, 8 four points on the sides of a rectangle, 9 three
points on a circle. Without xy the metadata are of the image, or of a span of time. Of a choice
(types 2 to 4) av holds the option's key, of boxes to tick several, with commas.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mnc.data.dataset import DataError
from mnc.data.labelled import Faults

SECTIONS = {"attribute", "file", "metadata", "view"}
IMAGE = 2                               # the type of a file
CHOICES = (2, 3, 4)                     # types of attributes: tick, one of them, a list
Record = dict[str, Any]


def is_project(content: Any) -> bool:
    """Whether a JSON is one."""
    return isinstance(content, dict) and set(content) >= SECTIONS


def records(content: Mapping[str, Any], faults: Faults) -> list[Record]:
    """filename (of an address the whole), regions with shape_attributes and region_attributes.

    Raises DataError for a damaged project, and where no file is an image.
    """
    if not all(isinstance(content[key], dict) for key in SECTIONS):
        raise DataError("a damaged project of VIA 3: attribute, file, metadata and view are not "
                        "all tables")
    found: dict[str | None, Record] = {
        number: {"filename": _name(file), "regions": []}
        for number, file in content["file"].items()
        if isinstance(file, dict) and file.get("type", IMAGE) == IMAGE}
    if not found:
        raise DataError("a project of VIA 3 without an image; of a video, annotate its frames as "
                        "images")
    for key, each in content["metadata"].items():
        xy = each.get("xy") if isinstance(each, dict) else None
        if xy == []:
            continue
        number = _file_of(each, content["view"]) if xy else None
        if number in found:
            found[number]["regions"].append({
                "shape_attributes": _shape(xy),
                "region_attributes": _attributes(each.get("av"), content["attribute"])})
        else:
            faults.setdefault("regions that are on no image, or on one of several", []).append(key)
    return list(found.values())


def _name(file: Mapping[str, Any]) -> str:
    return str(file.get("fname") or file.get("src") or "")


def _file_of(region: Mapping[str, Any], views: Mapping[str, Any]) -> str | None:
    """The key of its file; None where its view shows several, of which it does not say one."""
    view = views.get(str(region.get("vid")))
    shown = view.get("fid_list") if isinstance(view, dict) else None
    return str(shown[0]) if isinstance(shown, list) and len(shown) == 1 else None


def _attributes(values: Any, about: Mapping[str, Any]) -> dict[str, str]:
    """By their names, options by theirs."""
    named = {}
    for key, value in (values.items() if isinstance(values, dict) else ()):
        attribute = about.get(key)
        attribute = attribute if isinstance(attribute, dict) else {}
        options = attribute.get("options")
        if attribute.get("type") in CHOICES and isinstance(options, dict):
            chosen = str(value).split(",")
            value = " ".join(str(options[each]) for each in chosen if each in options)
        named[str(attribute.get("aname") or key)] = value
    return named


def _shape(xy: Any) -> dict[str, Any] | None:
    """As VIA 2 says it; None for a damaged one."""
    try:
        kind, values = int(xy[0]), [float(value) for value in xy[1:]]
        points = np.reshape(values, (-1, 2)) if kind >= 7 else np.zeros((0, 2))
        if kind == 2:
            return dict(zip(("x", "y", "width", "height"), values, strict=True), name="rect")
        if kind == 3:
            return dict(zip(("cx", "cy", "r"), values, strict=True), name="circle")
        if kind == 4:
            return dict(zip(("cx", "cy", "rx", "ry"), values, strict=True), name="ellipse")
        if kind == 7:
            return {"name": "polygon", "all_points_x": points[:, 0], "all_points_y": points[:, 1]}
        if kind == 8:
            (x, y), (width, height) = points.min(axis=0), np.ptp(points, axis=0)
            return {"name": "rect", "x": x, "y": y, "width": width, "height": height}
        if kind == 9:
            return {"name": "circle", **_circle(points)}
    except (TypeError, ValueError, OverflowError, IndexError, np.linalg.LinAlgError):
        return None
    return {"name": {1: "point", 5: "line", 6: "polyline"}.get(kind, f"shape {kind}")}


def _circle(points: np.ndarray) -> dict[str, float]:
    """Through three points: 2 x cx + 2 y cy + (r² - cx² - cy²) = x² + y² for each."""
    cx, cy, rest = np.linalg.solve(np.column_stack((2 * points, np.ones(3))),
                                   (points ** 2).sum(axis=1))
    return {"cx": cx, "cy": cy, "r": float(np.sqrt(rest + cx ** 2 + cy ** 2))}
