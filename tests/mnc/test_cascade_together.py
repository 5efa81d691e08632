"""The cascade trained by several workers: what they compute is what one worker computes."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from caffe.engine.net.net import Net
from caffe.engine.parallel import faults
from caffe.engine.parallel.faults import Lost
from caffe.extend import read_rows, together
from conftest import ROOT
from mnc import validation
from mnc.config import cfg, cfg_from_file
from mnc.data import get_dataset
from mnc.inference.whole_sets import Finder
from mnc.training.loop import Care, prepared
from mnc.validation import Validation

sys.path.insert(0, str(ROOT / "tests"))
from workers import HUNG, outcomes, run_workers, wait_only


def trained(model: Path, scenes: Path, out: Path, passes: int) -> dict[str, np.ndarray]:
    """Losses and weights of the tiny cascade after two updates, where no RoI is left to chance."""
    cfg_from_file(ROOT / "experiments/cfgs/Mini/mnc_5stage.yml")
    cfg.TRAIN.RPN_POST_NMS_TOP_N, cfg.TRAIN.RPN_BATCHSIZE, cfg.TRAIN.BATCH_SIZE = 20, 10**6, 10**4
    cfg.TRAIN.RPN_FG_FRACTION = 1.0
    make = Net.from_proto
    Net.from_proto = classmethod(lambda cls, *a: make(*a, dtype="float64"))     # type: ignore
    np.random.seed(3)
    with together() as team:
        solver = model / "solver.prototxt"
        text = solver.read_text().replace("iter_size: 8", f"iter_size: {passes}")
        (out / f"solver{team.rank}.prototxt").write_text(text + "\nrandom_seed: 4\n")
        wrapper = prepared(out / f"solver{team.rank}.prototxt", get_dataset(f"sbd:{scenes}:train"),
                           out, care=Care(team=team, check_data=False))
        wrapper.solver.param.iter_size = passes
        losses = []
        wrapper.solver.add_callback(
            lambda: None, lambda: losses.append(wrapper.solver._smoothed.losses[-1]))
        wrapper.solver.step(2)
        net = wrapper.solver.net
        return {"losses": np.array(losses),
                **{f"{name}/{i}": blob.data.copy() for name, blobs in net.params.items()
                   for i, blob in enumerate(blobs)}}


def validated(model: Path, scenes: Path, out: Path, name: str) -> dict[str, Any]:
    """What validations after each of two updates with the rate 0 find, and who tested which image."""
    cfg_from_file(ROOT / "experiments/cfgs/Mini/mnc_5stage.yml")
    cfg.TEST.SCALES = cfg.TRAIN.SCALES = (64,)
    tested = []
    with together() as team:
        solver = out / f"{name}{team.rank}.prototxt"
        text = (model / "solver.prototxt").read_text().replace("base_lr: 0.0007", "base_lr: 0")
        solver.write_text(text + "\nrandom_seed: 4\n")
        held_out = get_dataset(f"sbd:{scenes}:val")
        watching = Validation(held_out, model / "test.prototxt", every=1, patience=1)
        watching.figures = ["score of all"]         # those of PASCAL are 0 for weights by chance
        validation.figures_of = lambda saved, *a, **kw: {"score of all": sum(
            boxes[:, 4].sum() for of_class in saved.detections for boxes, _ in of_class)}
        find = Finder.image
        Finder.image = lambda self, i, image: tested.append(i) or find(self, i, image)
        wrapper = prepared(solver, get_dataset(f"sbd:{scenes}:train"), out / name, care=Care(
            team=team, check_data=False, validation=watching))
        wrapper.train_model(3)
        judge = wrapper.judge
        return {"tested": tested, "ended": wrapper.solver.iter, "gave up": judge.gave_up,
                "best": (judge.best, judge.best_at, judge.best_file), "worse": judge.worse}


def test_workers_share_the_images_of_a_validation(tiny_model, tiny_scenes, tmp_path):
    """They find together what one finds, and all know what that means for the training."""
    alone, = run_workers(1, validated, tiny_model, tiny_scenes, tmp_path, "alone")
    assert alone["tested"] == [0, 1, 2] * 2 and alone["gave up"] and alone["best"][0] > 0
    two = run_workers(2, validated, tiny_model, tiny_scenes, tmp_path, "two")
    assert sorted(i for each in two for i in each.pop("tested")) == [0, 0, 1, 1, 2, 2]
    assert two[0] == two[1]
    for name in ("ended", "gave up", "worse"):
        assert two[0][name] == alone[name]
    assert two[0]["best"][:2] == alone["best"][:2]
    assert [len(row["validation"]) for row in read_rows(tmp_path / "two/metrics.jsonl")
            if "validation" in row] == [1, 1]


def hanging(model: Path, scenes: Path, out: Path) -> str:
    """What a worker is told whose mate hangs at an image of a validation; it waits for that one there."""
    cfg_from_file(ROOT / "experiments/cfgs/Mini/mnc_5stage.yml")
    cfg.TEST.SCALES = cfg.TRAIN.SCALES = (64,)
    faults.TO_ANSWER = 1.0
    find = Finder.image

    def image(self, i, image):
        if team.rank:
            team.store.set("hangs", "")
            time.sleep(HUNG)
        team.store.wait(["hangs"])
        wait_only(2.0, wrapper.solver)
        return find(self, i, image)

    try:
        with together() as team:
            Finder.image = image
            watching = Validation(get_dataset(f"sbd:{scenes}:val"), model / "test.prototxt", every=1)
            wrapper = prepared(model / "solver.prototxt", get_dataset(f"sbd:{scenes}:train"), out, care=Care(
                team=team, check_data=False, validation=watching))
            wrapper.train_model(1)
    except Lost as error:
        return str(error)
    return ""


def test_a_worker_that_hangs_in_a_validation_is_named(tiny_model, tiny_scenes, tmp_path):
    (good, said), (other, _) = outcomes(2, hanging, tiny_model, tiny_scenes, tmp_path,
                                        stderr=tmp_path / "stderr")
    assert good and not other
    assert "worker 1 (process " in said and said.endswith("did not come in time: it hangs")


def test_workers_of_the_cascade_train_as_one_with_their_passes(tiny_model, tiny_scenes, tmp_path):
    alone, = run_workers(1, trained, tiny_model, tiny_scenes, tmp_path, 4)
    for count in (2, 4):
        for each in run_workers(count, trained, tiny_model, tiny_scenes, tmp_path, 4 // count):
            for name in alone:
                scale = np.abs(alone[name]).max()
                assert np.abs(each[name] - alone[name]).max() <= 1e-6 * scale, (count, name)
