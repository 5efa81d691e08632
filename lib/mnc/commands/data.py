"""`mnc data`: look at a data set, check it, split it, convert it."""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mnc.augmentations import AUGMENTATIONS
from mnc.commands.registration import add_classes_argument, count
from mnc.config import ConfigError, cfg_from_list
from mnc.nets import NETS

if TYPE_CHECKING:
    import numpy as np

    from mnc.data import Dataset

log = logging.getLogger("mnc")

FORMATS = ("coco", "voc", "yolo", "labelme")


def add_arguments(p: argparse.ArgumentParser) -> None:
    actions = p.add_subparsers(dest="action", required=True, metavar="ACTION")
    show = _action(actions, "show", "a page: pictures with the truth, classes, sizes, problems",
                   _show)
    show.add_argument("--out", metavar="DIR", help="default: output/data/IMDB")
    show.add_argument("--images", type=count, default=24, metavar="N",
                      help="pictures, evenly over the images (default %(default)s)")
    show.add_argument("--augment", choices=AUGMENTATIONS,
                      help="show, too, what training with this sees of some images")
    _action(actions, "check", "read every image and annotation; status 1 if any is wrong", _check)
    split = _action(actions, "split", "deal the images to COCO files to train on and to measure on",
                    _split)
    split.add_argument("--val", type=_share, default=0.2, metavar="SHARE",
                       help="of the images and of each class (default %(default)s)")
    split.add_argument("--test", type=_share, default=0.0, metavar="SHARE",
                       help="a third part (default: none)")
    split.add_argument("--seed", type=int, default=0, help="another one deals otherwise")
    split.add_argument("--groups", metavar="REGEX",
                       help="images whose names have the same text in the first (...) of this go "
                            r"together, such as '^(patient\d+)_'")
    split.add_argument("--out", default=".", metavar="DIR",
                       help="for train.json, val.json (default: here)")
    split.add_argument("--overwrite", action="store_true", help="replace files that are there")
    convert = _action(actions, "convert", "write the data set in another format, images too",
                      _convert)
    convert.add_argument("out", metavar="OUT", help="a folder that is not there yet")
    convert.add_argument("--to", required=True, choices=FORMATS, help="the format")
    convert.add_argument("--tiles", type=count, metavar="N",
                         help="cut images that are larger into tiles of N x N pixels, which "
                              "overlap by TEST.TILE_OVERLAP")
    anchors = _action(actions, "anchors", "how settings and anchors of a net fit, and those that "
                                          "--fit would choose", _anchors)
    anchors.add_argument("--net", choices=NETS, default="Mini", help="default %(default)s")
    anchors.add_argument("--task", default="mnc_5stage", help="default %(default)s")
    for each in actions.choices.values():
        each.add_argument("--set", dest="set_cfgs", nargs=argparse.REMAINDER, default=[],
                          metavar="KEY VALUE", help="single configuration keys")


def _action(actions: argparse._SubParsersAction, name: str, about: str,
            work: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    p: argparse.ArgumentParser = actions.add_parser(name, help=about, description=about)
    p.set_defaults(work=work)
    p.add_argument("imdb", metavar="IMDB", help="data set, as for --imdb of the other commands")
    add_classes_argument(p)
    p.add_argument("--plugin", action="append", metavar="MODULE",
                   help="module or .py file that registers data sets; may be repeated")
    return p


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"a share from 0 to 1, not {text!r}")
    return value


def run(args: argparse.Namespace) -> int:
    from mnc.commands.session import take_classes

    if args.set_cfgs:
        cfg_from_list(args.set_cfgs)
    take_classes(args)
    return args.work(args)


def _show(args: argparse.Namespace) -> int:
    from mnc.commands.data_show import show
    from mnc.results.names import folder_name

    page = show(args.imdb, Path(args.out or Path("output", "data", folder_name(args.imdb))),
                images=args.images, augment=args.augment)
    print(page)
    return 0


def _check(args: argparse.Namespace) -> int:
    """Warnings of the reader count, too: they name what is left out."""
    from mnc.commands.data_show import Warnings
    from mnc.data import get_dataset, problems
    from mnc.data.dataset import listed
    from mnc.data.depth import warn_of_depth
    from mnc.data.spelling import warn_of_spelling

    with Warnings() as said:
        dataset = get_dataset(args.imdb)
        wrong = problems(dataset, progress=True)
        good = [i for i in range(len(dataset)) if i not in wrong]
        warn_of_depth([dataset.image_path(i) for i in good])
        counts = class_counts(dataset, good).sum(axis=0)
        warn_of_spelling(dict(zip(dataset.classes[1:], counts.tolist())))
    print(f"{dataset.name}: {len(dataset)} images, {counts.sum()} instances, "
          f"{len(dataset.classes) - 1} classes")
    if wrong:
        print(f"{len(wrong)} images cannot be used:\n{listed(list(wrong.values()))}")
    if not wrong and not said.lines:
        print("nothing is wrong")
    return 1 if wrong or said.lines else 0


def _split(args: argparse.Namespace) -> int:
    from mnc.data import DataError, Subset, get_dataset
    from mnc.data.formats.coco_file import content, files_and_folder, write_json
    from mnc.data.splitting import split

    names = [name for name, share in (("train", 1.0), ("val", args.val), ("test", args.test))
             if share]
    shares = [1 - args.val - args.test, *filter(None, (args.val, args.test))]
    if len(names) < 2 or shares[0] <= 0:
        raise ConfigError(f"--val {args.val:g} --test {args.test:g}: something must be left to "
                          "train on, and to measure on")
    files = {name: Path(args.out, f"{name}.json") for name in names}
    there = [str(path) for path in files.values() if path.exists()]
    if there and not args.overwrite:
        raise ConfigError(f"{' and '.join(there)}: there already; --overwrite replaces, --out "
                          "names another folder")
    dataset = get_dataset(args.imdb)
    counts = class_counts(dataset, range(len(dataset)))
    try:
        part = split(counts, groups_of(dataset, args.groups), shares, args.seed)
    except ValueError as error:
        raise DataError(f"{dataset.name}: {error}") from error
    relative, folder = files_and_folder(dataset)
    for k, name in enumerate(names):
        rows = [i for i, each in enumerate(part) if each == k]
        write_json(files[name], content(Subset(dataset, rows), [relative[i] for i in rows]))
        sums = ", ".join(f"{label} {number:.0f}" for label, number in
                         zip(dataset.classes[1:21], counts[part == k].sum(axis=0)))
        print(f"{name}: {len(rows)} images, {sums}\n    coco:{files[name]}:{folder}")
    return 0


def class_counts(dataset: Dataset, images: Sequence[int]) -> np.ndarray:
    """(N, K - 1) instances of each class in each of these images."""
    import numpy as np

    number = len(dataset.classes)
    return np.array([np.bincount(dataset.annotation(i).labels, minlength=number)[1:]
                     for i in images]).reshape(len(images), number - 1)


def groups_of(dataset: Dataset, pattern: str | None) -> list[str]:
    """What the pattern finds in the name of each image; a name in which it finds nothing."""
    if pattern is None:
        return list(map(str, range(len(dataset))))
    try:
        found = [re.search(pattern, name) for name in dataset.names]
        groups = [match[1] if match else None for match in found]
    except (re.error, IndexError) as error:
        raise ConfigError(f"--groups {pattern}: a regular expression with a group (...): "
                          f"{error}") from error
    log.info("%d groups of %d images; %d images are in none", len(set(groups) - {None}),
             len(groups), groups.count(None))
    return [name if group is None else f"({group})" for name, group in zip(dataset.names, groups)]


def _convert(args: argparse.Namespace) -> int:
    from mnc.data import get_dataset
    from mnc.data.formats import WRITERS

    out = Path(args.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out}: there already; name a folder that is not, or an empty one")
    dataset = get_dataset(args.imdb)
    with TemporaryDirectory() as folder:
        if args.tiles:
            dataset = _in_tiles(dataset, args.tiles, Path(folder))
        WRITERS[args.to](dataset, out)
    names = {"coco": f"coco:{out}/annotations.json:{out}/images", "voc": f"voc:{out}:train",
             "yolo": f"yolo:{out}", "labelme": f"labelme:{out}"}
    print(f"{len(dataset)} images: {names[args.to]}")
    return 0


def _in_tiles(dataset: Dataset, side: int, folder: Path) -> Dataset:
    from mnc.config import cfg
    from mnc.data.tiling import tiled
    from mnc.inference.tiles import Tiling, tiles_of

    tiling = Tiling(side, cfg.TEST.TILE_OVERLAP)
    return tiled(dataset, folder, lambda size: [(tile.x1, tile.y1, tile.x2, tile.y2)
                                                for tile in tiles_of(size, tiling)])


def _anchors(args: argparse.Namespace) -> int:
    from mnc.config import cfg_from_file
    from mnc.data import get_dataset
    from mnc.project import project_file
    from mnc.training import fitting

    found = fitting.Findings.of(get_dataset(args.imdb))
    cfg_from_file(project_file("experiments", "cfgs", args.net, f"{args.task}.yml"))
    if args.set_cfgs:
        cfg_from_list(args.set_cfgs)
    now = fitting.own_settings()
    changes = fitting.fitted(found, now, args.set_cfgs[::2])
    print("\n".join(fitting.described(found, now)))
    for text in fitting.misfits(found, now):
        print(f"misfit: {text}")
    print(f"--fit changes {len(changes)} settings of {args.net}:")
    for key, value in changes.items():
        print(f"    {key} {fitting.plain(value)} (was {fitting.plain(now[key])})")
    if changes:
        print(f"best anchor's IoU then {fitting.anchors_said(found, now | changes)}\n"
              f"by hand: --no-fit {fitting.as_flags(changes)}")
    return 0
