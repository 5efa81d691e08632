"""The cascade trained by several workers: what they compute is what one worker computes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from caffe.engine.net.net import Net
from caffe.extend import together
from conftest import ROOT
from mnc.config import cfg, cfg_from_file
from mnc.data import get_dataset
from mnc.training.loop import Care, prepared

sys.path.insert(0, str(ROOT / "tests"))
from workers import run_workers


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


def test_workers_of_the_cascade_train_as_one_with_their_passes(tiny_model, tiny_scenes, tmp_path):
    alone, = run_workers(1, trained, tiny_model, tiny_scenes, tmp_path, 4)
    for count in (2, 4):
        for each in run_workers(count, trained, tiny_model, tiny_scenes, tmp_path, 4 // count):
            for name in alone:
                scale = np.abs(alone[name]).max()
                assert np.abs(each[name] - alone[name]).max() <= 1e-6 * scale, (count, name)
