"""`mnc doctor`: what `caffe doctor` finds, and which nets, weights and data sets are here."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from caffe.commands.doctor import Finding

# module, package, what it is for
OPTIONAL = (("fastapi", "fastapi", "mnc serve"), ("uvicorn", "uvicorn", "mnc serve"),
            ("python_multipart", "python-multipart", "mnc serve"))


def add_arguments(p: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(args: argparse.Namespace) -> int:
    from caffe.commands.doctor import findings, optional, told

    return told([*findings(), *optional(OPTIONAL), *_models(), *_data()])


def _models() -> Iterator[Finding]:
    from caffe.commands.doctor import Finding
    from mnc.commands.demo import MINI, VGG16
    from mnc.project import project_file

    nets = project_file("models")
    names = sorted({path.parent.parent.name for path in nets.glob("*/*/test.prototxt")})
    if names:
        yield Finding("ok", f"nets in {nets}: {', '.join(names)}")
    else:
        yield Finding("!!", f"no nets in {nets}", "mnc generate writes them; or install again")
    for model, advice in ((MINI, "it comes with the program: install again"),
                          (VGG16, "train it, or put it there (models/README.md)")):
        there = model.weight_file.exists()
        yield Finding("ok" if there else "--",
                      f"weights of {model.net}: {model.weight_file}"
                      + ("" if there else " is not there"), "" if there else advice)


def _data() -> Iterator[Finding]:
    from caffe.commands.doctor import Finding
    from mnc.config import cfg

    scripts = Path(cfg.ROOT_DIR, "data", "scripts")     # of a checkout

    for folder, name, script in (("VOCdevkitSDS", "SBD", "fetch_sbd_data.sh"),
                                 ("coco", "COCO", "fetch_coco.sh")):
        there = Path(cfg.DATA_DIR, folder).is_dir()
        yield Finding("ok" if there else "--", f"{name} data: {Path(cfg.DATA_DIR, folder)}"
                      + ("" if there else " is not there"),
                      "" if there else f"{scripts / script} fetches it" if scripts.is_dir()
                      else "fetched by a script of the checkout; or name data of your own")
