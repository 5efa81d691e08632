"""get_image_size: the sizes of images, for DetectionOutput and DetectionEvaluate."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from caffe.commands.convert_annoset import read_list
from caffe.commands.flags import Flag, help_text, parse
from caffe.commands.registration import UsageError, entry
from caffe.data.images import read_image

USAGE = """usage: get_image_size FLAGS ROOT/ LIST OUT

Writes a line "name height width" to OUT for each image of LIST, whose lines begin with IMAGE.
The name is that of the file, without folder and ending."""

FLAGS = (Flag("name_id_file", str, "", "lines NAME ID: write the ID instead of the name"),)


@entry("get_image_size")
def main(argv: Sequence[str]) -> int:
    """list the sizes of images"""
    flags, words = parse(argv, FLAGS, USAGE)
    if len(words) != 3:
        raise UsageError(f"takes ROOT/ LIST OUT, got {len(words)} names\n\n"
                         + help_text(FLAGS, USAGE))
    root, source, target = words
    numbers = dict(read_list(flags.name_id_file)) if flags.name_id_file else {}
    lines = []
    for image, _ in read_list(source):
        name = Path(image).stem
        if numbers and name not in numbers:
            raise UsageError(f"{flags.name_id_file}: has no line for {name}")
        _, height, width = read_image(os.path.join(root, image)).shape
        lines.append(f"{numbers.get(name, name)} {height} {width}\n")
    Path(target).write_text("".join(lines))
    return 0
