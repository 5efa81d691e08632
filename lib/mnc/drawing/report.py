"""A page of pictures and figures to look at: one HTML file, with the pictures beside it."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np

from mnc.drawing.instances import write_image
from mnc.instances import Instances

THUMBNAIL = 640             # pixels of the long side of what the page itself shows

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
 body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 84em; padding: 0 1em; }}
 table {{ border-collapse: collapse; display: block; margin: 1em 0; max-width: 100%;
          overflow-x: auto; }}
 td, th {{ border: 1px solid #bbb; padding: .2em .7em; }}
 th {{ cursor: pointer; }} figure[hidden] {{ display: none; }}
 figure {{ display: inline-block; margin: .5em; vertical-align: top; }}
 img {{ max-width: 100%; }}
 figcaption {{ color: #555; font-size: 90%; max-width: 40em; overflow-wrap: anywhere; }}
</style>
<h1>{title}</h1>
"""


SORTING = """<script>
const sorted = (all, value, up) => [...all].sort((a, b) => {
  const [x, y] = [value(a), value(b)], [m, n] = [parseFloat(x), parseFloat(y)];
  return (up ? 1 : -1) * (isNaN(m) || isNaN(n) ? String(x).localeCompare(y) : m - n);
});
document.querySelectorAll("button[data-by]").forEach(button => button.onclick = () => {
  button.up = !button.up;
  const figures = document.querySelectorAll("figure");
  sorted(figures, f => f.dataset[button.dataset.by], button.up)
    .forEach(f => f.parentNode.append(f));
});
document.getElementById("shown").onchange = event =>
  document.querySelectorAll("figure").forEach(f =>
    f.hidden = !!event.target.value && !("|" + f.dataset.classes + "|").includes(
      "|" + event.target.value + "|"));
document.querySelectorAll("table").forEach(table => table.querySelectorAll("th").forEach((th, k) =>
  th.onclick = () => {
    th.up = !th.up;
    const rows = [...table.rows].filter(row => row.cells[0].tagName == "TD");
    sorted(rows, row => row.cells[k].innerText, th.up).forEach(row => row.parentNode.append(row));
  }));
</script>"""


class Page:
    """An HTML page that grows: what was added is there to look at, whatever comes later.

    path: of the page; its folder is made. Nothing is written before the first part is added, so
    that a mistake leaves an earlier page alone. Memory does not grow with the number of pictures.
    """

    def __init__(self, path: Path, title: str) -> None:
        self.path = path
        self._head = PAGE.format(title=html.escape(title))

    def note(self, text: str) -> None:
        """A paragraph."""
        self.add(f"<p>{html.escape(text)}</p>")

    def table(self, metrics: Mapping[str, object]) -> None:
        """A row for each figure; a dictionary of figures by class becomes a row for each class."""
        self.add(_table(metrics))

    def picture(self, caption: str, image: np.ndarray, file: Path,
                sort_by: Mapping[str, object] | None = None, side: int = THUMBNAIL) -> None:
        """Write the picture (H, W, 3) uint8 BGR as this file, and show it with its caption.

        The page shows a thumbnail of a large one, which is a link to the file. The file lies in the
        page's folder or below. sort_by: what `sorting` offers to sort and choose pictures by. side:
        pixels of the thumbnail's long side.
        Raises OSError where the file cannot be written.
        """
        write_image(file, image)
        name = file.relative_to(self.path.parent)
        scale = side / max(image.shape[:2])
        shown = name
        if scale < 1:
            shown = Path("thumbnails", f"{name}.jpg")
            write_image(self.path.parent / shown, cv2.resize(image, None, fx=scale, fy=scale,
                                                             interpolation=cv2.INTER_AREA))
        known = "".join(f' data-{key}="{html.escape(str(value))}"'
                        for key, value in (sort_by or {}).items())
        self.add(f'<figure{known}><a href="{_link(name)}"><img alt="{html.escape(caption)}" '
                 f'src="{_link(shown)}"></a>'
                 f"<figcaption>{html.escape(caption)}</figcaption></figure>")

    def sorting(self, names: Mapping[str, str], classes: Sequence[str]) -> None:
        """Buttons that sort the pictures that follow, and a choice of the class they have.

        names: {key of sort_by: what the button says}; the pictures' key `classes` has the names of
        theirs, between bars. Tables are sorted by a click on the head of a column.
        """
        buttons = "".join(f'<button data-by="{key}">{html.escape(text)}</button> '
                          for key, text in names.items())
        options = "".join(f"<option>{html.escape(name)}</option>" for name in classes)
        self.add(f'<p>sort by {buttons} show <select id="shown"><option value="">all classes'
                 f"</option>{options}</select></p>{SORTING}")

    def add(self, text: str) -> None:
        """Append a piece of HTML."""
        mode = "a"
        if self._head:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            mode, text, self._head = "w", self._head + text, ""
        # names of images may be no UTF-8
        with self.path.open(mode, encoding="utf-8", errors="replace") as page:
            page.write(text + "\n")


def write_report(path: Path, title: str, pictures: Sequence[tuple[str, np.ndarray]], *,
                 metrics: Mapping[str, object] | None = None, notes: Sequence[str] = ()) -> None:
    """A page of notes, a table of metrics and (caption, BGR image) pictures.

    The pictures lie beside it, as NUMBER.jpg in the folder `pictures`.
    """
    page = Page(path, title)
    for note in notes:
        page.note(note)
    if metrics:
        page.table(metrics)
    for n, (caption, image) in enumerate(pictures):
        page.picture(caption, image, path.parent / "pictures" / f"{n}.jpg")


def _link(path: Path) -> str:
    return quote(path.as_posix(), errors="replace")


def _table(metrics: Mapping[str, object]) -> str:
    rows = []
    for name, value in metrics.items():
        group = value.items() if isinstance(value, Mapping) else [("", value)]
        rows += [f"<tr><td>{html.escape(f'{name} {key}'.strip())}</td><td>{_number(v)}</td></tr>"
                 for key, v in group]
    return "<table>\n" + "\n".join(rows) + "\n</table>"


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else html.escape(str(value))


def counted(found: Instances, classes: Sequence[str]) -> str:
    """'2 coral, 1 opal'"""
    numbers = np.bincount(found.labels.astype(int), minlength=len(classes))
    return ", ".join(f"{n} {classes[c]}" for c, n in enumerate(numbers) if n) or "nothing found"
