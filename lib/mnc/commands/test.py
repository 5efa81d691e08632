"""`mnc test` and `mnc evaluate`: run nets on a data set, measure what is found, write it."""

from __future__ import annotations

import argparse
import logging
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from mnc.config import ConfigError, cfg, cfg_from_dict, cfg_from_file, get_output_dir
from mnc.data import DataError, get_dataset
from mnc.drawing import curves as curve_plots
from mnc.drawing import instances as visualisation
from mnc.inference.cascade import TASKS, Instances, load_net, of_the_set, test_images
from mnc.inference.cfm import ProposalFolder
from mnc.inference.shared import Found, load_found, save_found, test_together
from mnc.inference.workers import Team, together
from mnc.nets.fit import check_net
from mnc.nets.settings import find_settings
from mnc.results import coco as coco_results
from mnc.results import detections as results
from mnc.results import saved as saved_results
from mnc.results import voc as result_files
from mnc.results.origin import differences, origin
from mnc.results.saved import METRICS, Saved

log = logging.getLogger("mnc")

Models = list[tuple[str, str]]              # prototxt, weights


# --- test ----------------------------------------------------------------------------------------

def run_test(args: argparse.Namespace) -> int:
    """test a net, or several together, on a data set"""
    check_forms(args.task, args.write)
    dataset = get_dataset(args.imdb)
    models = models_of(args)
    for prototxt, _ in models:
        check_net(prototxt, dataset.classes)
    nets = [load_net(prototxt, weights, cfg.TEST.PRECISION) for prototxt, weights in models]
    output = Path(args.out or get_output_dir(folder_name(args.imdb),
                                             "+".join(net.name for net in nets)))
    output.mkdir(parents=True, exist_ok=True)
    proposals = None
    if args.task == "cfm":
        proposals = args.proposals or str(Path(cfg.DATA_DIR) / "MCG")
    about = origin(*zip(*models), cfg, dataset, args.task, proposals)
    path = output / f"detections_{args.task}.npz"
    source = ProposalFolder(proposals, dataset) if proposals else None
    test = partial(test_images, nets, dataset, cfg=cfg, task=args.task, proposals=source)
    with together() as team:
        detections = detections_of(team, test, path, dataset, about, args.reuse)
    if team.rank > 0:
        return 0
    if args.task == "vis_seg":
        draw_dataset(output / "pictures", dataset, detections)
    report(output, dataset, Saved(detections, args.task, None, about), args,
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


def folder_name(imdb: str) -> str:
    """The name of a data set as a folder: sbd:data/mine:train is sbd_data_mine_train."""
    return re.sub(r"[^\w.+-]+", "_", imdb)


def detections_of(team: Team, test: Callable[[Sequence[int]], Iterable], path: Path, dataset,
                  about: dict, reuse: bool) -> results.SetDetections | None:
    """Of an earlier run if that is asked for, else of all workers' tests; None but at worker 0."""
    part = path.with_name(f"{path.stem}_partial.npz")
    finished, before = None, {}
    if reuse and team.rank == 0:
        finished = reusable(path, about)
        if finished is None and reusable(part, about) is not None:
            before = load_found(part)
    todo = team.of_the_first([] if finished else [i for i in range(len(dataset))
                                                  if i not in before])

    def keep(found: Found) -> None:
        found = before | found
        if found:
            save_found(part, dataset, found, about)
            print(f"{len(found)} of {len(dataset)} images are done and kept in {part}; the same "
                  "command with --reuse goes on from there", flush=True)

    found = before | test_together(team, todo, test, keep)
    if finished or team.rank > 0:
        return finished
    detections = of_the_set([found[i] for i in range(len(dataset))], cfg, about["task"])
    results.save_detections(path, dataset, detections, about)
    part.unlink(missing_ok=True)
    return detections


def reusable(path: Path, about: dict) -> results.SetDetections | None:
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


def draw_dataset(folder: Path, dataset, detections: results.SetDetections,
                 score: float = 0.5) -> None:
    for i, name in enumerate(dataset.names):
        found = Instances.from_detections([per_image[i] for per_image in detections], score)
        picture = visualisation.draw_instances(dataset.image(i), found, dataset.classes,
                                               cfg.BINARIZE_THRESH)
        visualisation.write_image(folder / f"{name}.png", picture)


def add_test_arguments(p: argparse.ArgumentParser) -> None:
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
    _add_report_arguments(p)
    p.add_argument("--out", metavar="DIR", help="default: output/EXP_DIR/IMDB/NET")


# --- evaluate ------------------------------------------------------------------------------------

def run_evaluate(args: argparse.Namespace) -> int:
    """measure saved results again: of `mnc test`, or COCO result files of any system"""
    dataset = dataset_of(args)
    saved = saved_results.load(args.results, dataset)
    if args.task == "seg" and saved.task == "det":
        raise DataError(f"{args.results}: it holds boxes without masks: measure it with --task det")
    if args.task:
        saved = replace(saved, task=args.task)
    check_forms(saved.task, args.write)
    output = Path(args.out or Path(args.results).parent / f"{Path(args.results).stem}_evaluated")
    output.mkdir(parents=True, exist_ok=True)
    report(output, dataset, saved, args, results=str(args.results))
    return 0


def dataset_of(args: argparse.Namespace):
    """The data set named, else the one in the results file, which args.imdb names then."""
    own = about_results(args.results).get("imdb")
    if args.imdb:
        if own not in (None, args.imdb):
            log.warning("%s holds results on %s; they are measured on %s now", args.results, own,
                        args.imdb)
        return get_dataset(args.imdb)
    if own is None:
        raise DataError(f"{args.results}: it does not say which data set it is of: name that by "
                        "--imdb")
    args.imdb = own
    try:
        return get_dataset(own)
    except DataError as error:
        raise DataError(f"{args.results}: these are results on {own}: {error}; --imdb names the "
                        "data set where it is now") from error


def take_results_settings(args: argparse.Namespace) -> None:
    """Masks are cut where they were when they were found."""
    settings = about_results(args.results).get("settings", {})
    if "BINARIZE_THRESH" in settings:
        cfg_from_dict({"BINARIZE_THRESH": settings["BINARIZE_THRESH"]}, args.results)


def about_results(path: str) -> dict[str, object]:
    """What a detections_*.npz says of itself; nothing for other files."""
    is_ours = Path(path).suffix == ".npz" and Path(path).is_file()
    return results.about_detections(Path(path)) if is_ours else {}


def add_evaluate_arguments(p: argparse.ArgumentParser) -> None:
    p.set_defaults(own_settings=take_results_settings)
    p.add_argument("results", metavar="RESULTS",
                   help="detections_*.npz, a COCO result .json, or a folder of VOC detection files")
    p.add_argument("--imdb", help="data set (default: the one that a detections_*.npz is of)")
    p.add_argument("--task", choices=("seg", "det"),
                   help="measure instances or boxes (default: what the file holds)")
    _add_report_arguments(p)
    p.add_argument("--out", metavar="DIR", help="default: RESULTS_evaluated beside RESULTS")


# --- both ----------------------------------------------------------------------------------------

def check_forms(task: str, forms: Sequence[str]) -> None:
    """ConfigError if a file is asked for that the task cannot give."""
    if task == "det" and "seginst" in forms:
        raise ConfigError("--write seginst needs masks; task det has none")


def report(output: Path, dataset, saved: Saved, args: argparse.Namespace, **about: object) -> None:
    """Figures to the screen and to OUTPUT/metrics_TASK.json, and the files asked for."""
    metrics = saved_results.figures_of(saved, dataset, cfg.BINARIZE_THRESH, args.metrics,
                                       eleven_point=not args.area)
    results.save_metrics(output / f"metrics_{saved.task}.json", metrics, **about, imdb=args.imdb,
                         images=len(dataset), task=saved.task,
                         ap="area" if args.area else "11 points", origin=dict(saved.about))
    for form in args.write:
        WRITERS[form](output, dataset, saved, args)
    print(results.table(metrics))
    print(f"Results saved to {output}", flush=True)


def _write_coco(output: Path, dataset, saved: Saved, args: argparse.Namespace) -> None:
    coco_results.write_results(output / f"coco_{saved.task}.json", dataset, saved.detections,
                               cfg.BINARIZE_THRESH)


def _write_voc(output: Path, dataset, saved: Saved, args: argparse.Namespace) -> None:
    result_files.write_voc_det(output / "voc_det", dataset, saved.detections)


def _write_pictures(output: Path, dataset, saved: Saved, args: argparse.Namespace) -> None:
    result_files.write_instance_pictures(output / "SegInst", dataset, saved.detections,
                                         cfg.BINARIZE_THRESH)


def _write_curves(output: Path, dataset, saved: Saved, args: argparse.Namespace) -> None:
    curves = results.curves_of(dataset, saved.detections, saved.task, cfg.BINARIZE_THRESH)
    for kind, thresholds in (("r", results.VOLUME), ("b", (0.5,))):
        if kind in curves:
            curve_plots.draw_curves(output / f"curves_{kind}.png", curves[kind], thresholds,
                                    (0.5, 0.7), eleven_point=not args.area)


WRITERS: dict[str, Callable[[Path, object, Saved, argparse.Namespace], None]] = {
    "coco": _write_coco, "voc": _write_voc, "seginst": _write_pictures, "curves": _write_curves}


def _add_report_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--metrics", nargs="+", choices=METRICS, default=["voc"],
                   help="PASCAL's and SBD's figures, or COCO's (default: voc)")
    p.add_argument("--area", action="store_true",
                   help="AP is the area under the curve, not the mean at 11 points of recall")
    p.add_argument("--write", nargs="+", choices=WRITERS, default=[],
                   help="further files: COCO's result json, VOC's det files, SegInst PNGs, "
                        "precision-recall curves")


run, add_arguments = run_test, add_test_arguments
