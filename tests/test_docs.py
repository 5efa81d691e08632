"""What the documents name is there: modules and what is in them, files, pages and their headings."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [page for page in sorted([*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("*/*/*.md")])
         if "golden" not in page.parts and not page.relative_to(ROOT).parts[0].startswith(".")
         and page.relative_to(ROOT).parts[0] not in ("data", "output", "build")]
CODE = re.compile(r"`([^`\n]+)`|^ {4}(\S.*)$|^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"(?<![\w./-])(?:mnc|pylayer|caffe)(?:\.[A-Za-z_]\w*)+(?![\w/])")
FILE = re.compile(r"(?<![\w./<{*-])(?:lib|tools|tests|docs|experiments/(?:cfgs|scripts)|caffe-mnc"
                  r"|caffe/engine|data/scripts)/[\w./-]*\w(?![\w*{<-])")
NO_MODULE = re.compile(r"(\.(h|pb|prototxt|zip)|_param)$")        # files and fields called so
PLACEHOLDER = re.compile(r"\b(NET|TASK|NAME)\b")


def code(page: Path) -> str:
    return "\n".join("".join(found) for found in CODE.findall(page.read_text()))


def resolve(name: str) -> object:
    """The module, or what is in one; raises ImportError or AttributeError."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            thing: object = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            thing = getattr(thing, part)
        return thing
    raise ImportError(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_names_and_files_of_a_page(page):
    text = code(page)
    wrong = []
    for name in set(NAME.findall(text)):
        try:
            if not NO_MODULE.search(name):
                resolve(name)
        except (ImportError, AttributeError):
            wrong.append(name)
    places = (ROOT, page.parent, ROOT / "caffe-mnc/python")
    wrong += [file for file in set(FILE.findall(text))
              if not PLACEHOLDER.search(file) and not any((place / file).exists() for place in places)]
    assert not sorted(wrong)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page(page):
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]
