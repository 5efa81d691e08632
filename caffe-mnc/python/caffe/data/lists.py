"""Lists of files, one a line: in any encoding, of any system, behind a root folder or not."""

from __future__ import annotations

import os
import re

from caffe.engine.formats.paths import below_root
from caffe.engine.formats.text import read_encoded, stored_name

_WHOLE = re.compile(r"[+-]?[0-9]{1,99}")
_LABELS = range(-2**31, 2**31)          # int32, as labels of databases are


class FileList:
    """The lines of a list that are not empty.

    lines: (number in the file, text without blanks at its end). `path(name)` is the file that a
    name in it means: behind `root`, which it may not leave. ValueError if the list is no text.
    """

    def __init__(self, source: str | os.PathLike[str], root: str = "") -> None:
        self.source, self.root = os.fspath(source), root
        text, self.encoding = read_encoded(source)
        if "\0" in text:
            raise ValueError(f"{self.source}: a binary file, where a list of files (text, one a "
                             "line) is expected")
        self.lines = [(number, line.rstrip()) for number, line in enumerate(text.split("\n"), 1)
                      if line.strip()]

    def path(self, name: str) -> str:
        """The path of a name; ValueError if it leaves the root."""
        try:
            return stored_name(below_root(self.root, name), self.encoding)
        except ValueError as error:
            raise ValueError(f"{self.source}: {error}") from None

    def labelled(self) -> list[tuple[str, int]]:
        """(name, label) of lines "name label", blanks or tabs between; names may hold blanks."""
        return [(name, label) for name, (label,) in self.with_labels(1)]

    def with_labels(self, count: int) -> list[tuple[str, tuple[int, ...]]]:
        """(name, labels) of lines with so many labels behind the name."""
        found = []
        for number, line in self.lines:
            name, *labels = line.rsplit(None, count)
            if len(labels) != count or not all(map(_WHOLE.fullmatch, labels)):
                what = 'expected "image label", the label a whole number' if count == 1 else \
                    f"expected an image and {count} labels, whole numbers"
                raise ValueError(f'{self.source}, line {number}: {what}; got "{line:.200}"')
            beyond = [label for label in labels if int(label) not in _LABELS]
            if beyond:
                raise ValueError(f"{self.source}, line {number}: label {beyond[0]:.20} is beyond "
                                 f"the whole numbers of 32 bits, -2^31 to 2^31 - 1")
            found.append((name, tuple(map(int, labels))))
        return found
