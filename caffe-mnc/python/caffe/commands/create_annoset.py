"""create_annoset: convert_annoset as SSD's script calls it, with a link to the result."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from caffe.commands import convert_annoset
from caffe.commands.flags import Flag, help_text, parse
from caffe.commands.registration import UsageError, entry

USAGE = """usage: create_annoset FLAGS ROOT LIST OUTDIR EXAMPLEDIR

Makes the database OUTDIR of the lines of LIST (see convert_annoset), and a link to it in
EXAMPLEDIR."""

FLAGS = (Flag("redo", bool, False, "make the database anew if it is there"),
         *convert_annoset.FLAGS)


@entry("create_annoset")
def main(argv: Sequence[str]) -> int:
    """convert_annoset, and a link to the database"""
    flags, words = parse(argv, FLAGS, USAGE)
    if len(words) != 4:
        raise UsageError(f"takes ROOT LIST OUTDIR EXAMPLEDIR, got {len(words)} names\n\n"
                         + help_text(FLAGS, USAGE))
    root, source, target, examples = words
    for path, what in ((root, "folder"), (source, "list")):
        if not os.path.exists(path):
            raise UsageError(f"no {what} at {path}")
    out = Path(target)
    if out.exists() and not flags.redo:
        raise UsageError(f"{out} exists already; --redo makes it anew")
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.{os.getpid()}.new")
    convert_annoset.convert(root, source, str(aside), flags)
    shutil.rmtree(out, ignore_errors=True)
    aside.rename(out)
    link = Path(examples) / out.name
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.resolve() != out.resolve():
        link.unlink(missing_ok=True)
        link.symlink_to(out.resolve())
    return 0
