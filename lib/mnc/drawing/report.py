"""A page of pictures and figures to look at, in one HTML file."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from mnc.instances import Instances

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
 body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 76em; padding: 0 1em; }}
 table {{ border-collapse: collapse; }} td {{ border: 1px solid #bbb; padding: .2em .7em; }}
 figure {{ display: inline-block; margin: .5em; vertical-align: top; }} img {{ max-width: 36em; }}
 figcaption {{ color: #555; font-size: 90%; max-width: 36em; }}
</style>
<h1>{title}</h1>
{body}
</html>
"""


def write_report(path: Path, title: str, pictures: Sequence[tuple[str, np.ndarray]], *,
                 metrics: Mapping[str, object] | None = None, notes: Sequence[str] = ()) -> None:
    """One HTML file with all in it: notes, a table of metrics, (caption, BGR image) pictures."""
    parts = [f"<p>{html.escape(note)}</p>" for note in notes]
    if metrics:
        parts.append(_table(metrics))
    parts += [_figure(caption, image) for caption, image in pictures]
    path.parent.mkdir(parents=True, exist_ok=True)
    # names of images may be no UTF-8
    path.write_text(PAGE.format(title=html.escape(title), body="\n".join(parts)), encoding="utf-8",
                    errors="replace")


def _table(metrics: Mapping[str, object]) -> str:
    """A row for each figure; a dictionary of figures by class becomes a row for each class."""
    rows = []
    for name, value in metrics.items():
        group = value.items() if isinstance(value, Mapping) else [("", value)]
        rows += [f"<tr><td>{html.escape(f'{name} {key}'.strip())}</td><td>{_number(v)}</td></tr>"
                 for key, v in group]
    return "<table>\n" + "\n".join(rows) + "\n</table>"


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else html.escape(str(value))


def _figure(caption: str, image: np.ndarray) -> str:
    _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 88])
    text = base64.b64encode(jpeg.tobytes()).decode()
    return (f'<figure><img alt="{html.escape(caption)}" src="data:image/jpeg;base64,{text}">'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>")


def counted(found: Instances, classes: Sequence[str]) -> str:
    """'2 coral, 1 opal'"""
    numbers = np.bincount(found.labels.astype(int), minlength=len(classes))
    return ", ".join(f"{n} {classes[c]}" for c, n in enumerate(numbers) if n) or "nothing found"
