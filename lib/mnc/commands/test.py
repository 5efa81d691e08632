"""`mnc test`: run nets on a data set, keep what is found, measure it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mnc.commands.report import Report, add_report_arguments, check_forms
from mnc.config import ConfigError, cfg, cfg_from_file, get_output_dir
from mnc.data import DataError, Dataset, get_dataset
from mnc.inference.cfm import ProposalFolder
from mnc.inference.networks import load_net
from mnc.inference.settings import TestSettings
from mnc.inference.shared import ByImage, load_found, save_found, test_together
from mnc.inference.whole_sets import Finder, of_the_set
from mnc.inference.workers import Team, together
from mnc.instances import SetDetections
from mnc.nets.fit import check_net
from mnc.nets.settings import find_settings
from mnc.results import detections as results
from mnc.results.detections import Saved
from mnc.results.names import folder_name
from mnc.results.origin import differences, origin
from mnc.tasks import TASKS

Models = list[tuple[str, str]]              # prototxt, weights


def run(args: argparse.Namespace) -> int:
    """test a net, or several together, on a data set"""
    task = TASKS[args.task]
    check_forms(task, args.write)
    dataset = get_dataset(args.imdb)
    models = models_of(args)
    for prototxt, _ in models:
        check_net(prototxt, dataset.classes)
    nets = [load_net(prototxt, weights, cfg.TEST.PRECISION) for prototxt, weights in models]
    output = Path(args.out or get_output_dir(folder_name(args.imdb),
                                             "+".join(net.name for net in nets)))
    output.mkdir(parents=True, exist_ok=True)
    proposals = None
    if task.regions:
        proposals = args.proposals or str(Path(cfg.DATA_DIR) / "MCG")
    prototxts, weights = ([model[k] for model in models] for k in (0, 1))
    about = origin(prototxts, weights, cfg, dataset, task.name, proposals)
    source = ProposalFolder(proposals, dataset) if proposals else None
    finder = Finder(nets, TestSettings.of(cfg), task, source)
    with together() as team:
        work = Run(output / f"detections_{task.name}.npz", dataset, about)
        detections = work.detections(team, finder, args.reuse)
    if team.rank == 0 and detections is not None:
        Report.of(args, output, dataset, cfg.BINARIZE_THRESH).make(
            Saved(detections, task, None, about),
            weights=" + ".join(weights for _, weights in models))
    return 0


def take_test_settings(args: argparse.Namespace) -> None:
    """cfg becomes that of the nets."""
    own = find_settings(*zip(*models_of(args)))
    if own:
        cfg_from_file(own)


def models_of(args: argparse.Namespace) -> Models:
    """The nets to test; with --wait all of their weights are there."""
    models = paired(args.prototxt, args.caffemodel)
    if args.wait:
        for _, weights in models:
            wait_for(weights)
    return models


def paired(prototxts: Sequence[str], weights: Sequence[str]) -> Models:
    """Weight files with their prototxts; a single prototxt serves all."""
    if len(prototxts) == 1:
        prototxts = list(prototxts) * len(weights)
    if len(prototxts) != len(weights):
        raise ConfigError(f"{len(weights)} weight files (--net) need one --def or as many, got "
                          f"{len(prototxts)}")
    return list(zip(prototxts, weights))


@dataclass(frozen=True)
class Run:
    """A test of a data set, which may go on from an earlier one."""

    path: Path                      # of the detections
    dataset: Dataset
    about: dict[str, object]        # what makes them

    def detections(self, team: Team, finder: Finder, reuse: bool) -> SetDetections | None:
        """Of an earlier run if that is asked for, else of all workers' tests; None but at 0."""
        part = self.path.with_name(f"{self.path.stem}_partial.npz")
        finished, before = None, {}
        if reuse and team.rank == 0:
            finished = reusable(self.path, self.about)
            if finished is None and reusable(part, self.about) is not None:
                before = load_found(part)
        images = range(len(self.dataset))
        todo = team.of_the_first([] if finished else [i for i in images if i not in before])

        def keep(found: ByImage) -> None:
            found = before | found
            if found:
                save_found(part, self.dataset, found, self.about)
                print(f"{len(found)} of {len(images)} images are done and kept in {part}; the same "
                      "command with --reuse goes on from there", flush=True)

        found = before | test_together(team, todo, partial(finder.images, self.dataset), keep)
        if finished or team.rank > 0:
            return finished
        detections = of_the_set([found[i] for i in images], finder.settings, finder.task)
        results.save_detections(self.path, self.dataset, detections, self.about)
        part.unlink(missing_ok=True)
        return detections


def reusable(path: Path, about: dict) -> SetDetections | None:
    """The detections in a file if nothing differs from what made them; else why not, and None."""
    if not path.exists():
        return None
    try:
        different = differences(results.about_detections(path), about)
        if different:
            print(f"{path} is not reused, it was made otherwise:\n  " + "\n  ".join(different))
            return None
        detections, _ = results.load_detections(path)
    except DataError as error:
        print(f"{error}; it is not reused")
        return None
    print(f"{path} is reused: same nets, settings and images", flush=True)
    return detections


def wait_for(path: str) -> str:
    """Return once the file exists."""
    while not Path(path).exists():
        print(f"Waiting for {path} to exist...", flush=True)
        time.sleep(10)
    return path


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.set_defaults(own_settings=take_test_settings)
    p.add_argument("--imdb", default="voc_2012_seg_val", help="data set (default %(default)s)")
    p.add_argument("--def", dest="prototxt", required=True, action="append", metavar="FILE",
                   help="test.prototxt")
    p.add_argument("--net", dest="caffemodel", required=True, action="append", metavar="FILE",
                   help="weights; --net again (and --def again, if it is another net) adds a model "
                        "whose results are voted on together with the first's")
    p.add_argument("--task", choices=TASKS, default="seg",
                   help="seg: instances; det: boxes; cfm: instances from proposals; vis_seg: "
                        "instances, with pictures of them (default %(default)s)")
    p.add_argument("--proposals", metavar="DIR",
                   help="with --task cfm: folder with NAME.mat of each image, from "
                        "tools/prepare_mcg_maskdb.py (default: DATA_DIR/MCG)")
    p.add_argument("--wait", action="store_true", help="wait until the weight file exists")
    p.add_argument("--comp", action="store_true",
                   help="competition mode: no effect here, results are always kept")
    p.add_argument("--reuse", action="store_true",
                   help="take the detections of an earlier run, also of one that broke off, if "
                        "nets, settings and images are the same")
    add_report_arguments(p)
    p.add_argument("--out", metavar="DIR", help="default: output/EXP_DIR/IMDB/NET")
