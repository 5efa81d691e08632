"""The training loop: files, printed lines, snapshots, resuming."""

from __future__ import annotations

import csv
import os
import signal
from urllib.parse import unquote

import h5py
import numpy as np
import pytest

import caffe
from caffe.engine.formats.weights import read_caffemodel
from caffe.extend import read_rows
from mnc.augmentations import settings_of
from mnc.config import cfg_from_dict, changes_in_file
from mnc.data import DataError, get_dataset
from mnc.data.images import read_image
from mnc.nets import generate
from mnc.nets.fit import TrainingError
from mnc.nets.mask_init import make_mask_init
from mnc.nets.settings import settings_path
from mnc.training import loop
from mnc.training.bbox_pred import bbox_pred_for_testing, load_for_training
from mnc.training.loop import Care, SolverWrapper, train


@pytest.fixture
def data(tiny_scenes):
    return get_dataset(f"sbd:{tiny_scenes}:train")


@pytest.fixture
def run(tiny_model, data, tmp_path, mini_cfg):
    """Train the tiny net into a folder of this name, from the same seeds every time."""
    def run(name, iters, **options):
        np.random.seed(3)
        caffe.set_random_seed(3)
        weights = options.pop("weights", None)
        return train(str(tiny_model / "solver.prototxt"), data, tmp_path / name, weights, iters,
                     care=Care(**options))
    return run


def stored(path):
    """Every data set of an HDF5 file, by its name with the special characters back in it."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({unquote(name): item[()]})
                        if isinstance(item, h5py.Dataset) else None)
    return found


def test_snapshots_and_the_lines_that_scripts_look_for(run, mini_cfg, tmp_path, capsys):
    mini_cfg.TRAIN.SNAPSHOT_ITERS = 2
    written = run("out", 3)
    assert [path.name for path in written] == [f"mini_mnc_5stage_iter_{n}.caffemodel.h5"
                                               for n in (2, 3)]
    assert all(path.exists() for path in written)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [f"Wrote snapshot to: {written[-1]}", "done solving"]


def test_a_snapshot_has_its_settings_beside_it(run, mini_cfg, tmp_path):
    mini_cfg.TEST.NMS = 0.25
    (weights,) = run("out", 1)
    assert changes_in_file(tmp_path / "out/mini_mnc_5stage_iter_1.yml")["TEST.NMS"] == 0.25
    assert settings_path(weights).is_file()


def test_infix(run, mini_cfg):
    mini_cfg.TRAIN.SNAPSHOT_INFIX = "small"
    assert run("out", 1)[-1].name == "mini_mnc_5stage_small_iter_1.caffemodel.h5"


def test_losses_are_kept_for_plots(run, tiny_model, tmp_path):
    run("out", 20)
    with open(tmp_path / "out/metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["iteration"] for row in rows] == ["20"]
    assert {"rpn_cls_loss", "loss_mask", "seg_cls_loss_ext", "bbox_loss"} <= set(rows[0])
    assert all(np.isfinite(float(value)) for value in rows[0].values())
    assert float(rows[0]["epoch"]) == pytest.approx(20 / 6, abs=1e-3)
    assert float(rows[0]["lr"]) == pytest.approx(7e-4) and float(rows[0]["eta"]) == 0
    assert (tmp_path / "out/losses.png").stat().st_size > 1000


def test_weights_change_and_the_snapshot_has_bbox_pred_for_testing(tiny_model, data, tmp_path,
                                                                   mini_cfg):
    from mnc.data.roidb import prepare

    wrapper = SolverWrapper(str(tiny_model / "solver.prototxt"), *prepare(data), tmp_path)
    weight, bias = (blob.data for blob in wrapper.solver.net.params["bbox_pred"])
    start = weight.copy()
    wrapper.train_model(2)
    assert np.abs(weight - start).max() > 0
    stds = np.tile([0.1, 0.1, 0.2, 0.2], 6).astype(np.float32)
    with h5py.File(tmp_path / "mini_mnc_5stage_iter_2.caffemodel.h5") as file:
        np.testing.assert_allclose(file["data/bbox_pred/0"][()], weight * stds[:, None], rtol=1e-6)
        np.testing.assert_allclose(file["data/bbox_pred/1"][()], bias * stds, rtol=1e-6)
        np.testing.assert_array_equal(file["data/bbox_pred/0"][()],
                                      file["data/bbox_pred_ext/0"][()])


def test_bbox_pred_by_hand(tiny_model, mini_cfg):
    mini_cfg.TRAIN.BBOX_NORMALIZE_MEANS = (1.0, 2.0, 3.0, 4.0)
    net = caffe.Net(str(tiny_model / "train.prototxt"), caffe.TRAIN)
    weight, bias = (blob.data for blob in net.params["bbox_pred"])
    weight[...], bias[...] = 1, 10
    with pytest.raises(RuntimeError, match="disk"), bbox_pred_for_testing(net) as changed:
        assert list(changed) == ["bbox_pred"]
        np.testing.assert_allclose(weight[:4, 0], [0.1, 0.1, 0.2, 0.2], rtol=1e-6)
        np.testing.assert_allclose(bias[4:8], [2, 3, 5, 6], rtol=1e-6)       # 10 * std + mean
        raise RuntimeError("disk full")
    assert (weight == 1).all() and (bias == 10).all()


@pytest.mark.parametrize("key", ["BBOX_NORMALIZE_TARGETS", "BBOX_NORMALIZE_TARGETS_PRECOMPUTED"])
def test_bbox_pred_stays_where_targets_are_not_normalised(tiny_model, mini_cfg, key):
    mini_cfg.TRAIN[key] = False
    net = caffe.Net(str(tiny_model / "train.prototxt"), caffe.TRAIN)
    net.params["bbox_pred"][0].data[...] = 1
    with bbox_pred_for_testing(net) as changed:
        assert not changed and (net.params["bbox_pred"][0].data == 1).all()


@pytest.mark.parametrize("augment", ["none", "strong"])
def test_resuming_is_exact(run, mini_cfg, tmp_path, augment):
    cfg_from_dict(settings_of(augment), augment)
    mini_cfg.TRAIN.SNAPSHOT_ITERS = 2
    run("whole", 4)
    run("first", 2)
    np.random.seed(99)                               # what happens in between must not matter
    run("second", 4, resume=tmp_path / "first/mini_mnc_5stage_iter_2.solverstate.h5")
    for kind in ("caffemodel", "solverstate"):
        whole, resumed = (stored(tmp_path / name / f"mini_mnc_5stage_iter_4.{kind}.h5")
                          for name in ("whole", "second"))
        assert set(whole) == set(resumed)
        for name in set(whole) - {"learned_net"}:
            np.testing.assert_array_equal(whole[name], resumed[name], err_msg=name)


def test_resuming_keeps_the_earlier_losses(run, mini_cfg, tmp_path, tiny_model):
    run("out", 20)
    run("out", 21, resume=tmp_path / "out/mini_mnc_5stage_iter_20.solverstate.h5")
    assert len((tmp_path / "out/metrics.csv").read_text().splitlines()) == 2


def test_initial_weights(run, tmp_path):
    first = run("first", 2)[-1]
    second = run("second", 0, weights=first)
    assert second == []
    third = run("third", 1, weights=first)[-1]
    assert not np.array_equal(stored(first)["data/conv1_1/0"], stored(third)["data/conv1_1/0"])


def test_initial_weights_are_not_written_over(run, tmp_path):
    first = run("out", 2)[-1]
    before = first.read_bytes()
    link = tmp_path / "start.caffemodel.h5"
    link.symlink_to(first)
    for weights in (first, link):
        with pytest.raises(TrainingError, match=r"choose another --out, or go on.*solverstate\.h5"):
            run("out", 3, weights=weights)
    assert first.read_bytes() == before
    assert run("out", 1, weights=first)             # never comes to iteration 2
    assert run("other", 2, weights=first)


def test_training_goes_on_from_a_snapshot_with_bbox_pred_normalised_again(run, tiny_model, mini_cfg,
                                                                          tmp_path):
    mini_cfg.TRAIN.BBOX_NORMALIZE_MEANS = (0.1, 0.2, 0.3, 0.4)
    snapshot = run("out", 2)[-1]
    raw = stored(tmp_path / "out/mini_mnc_5stage_iter_2.solverstate.h5")
    net = caffe.Net(str(tiny_model / "train.prototxt"), caffe.TRAIN)
    load_for_training(net, snapshot)
    for i, blob in enumerate(net.params["bbox_pred"]):
        np.testing.assert_allclose(blob.data, raw[f"extra/param/{i}/bbox_pred"], atol=1e-6)


def test_interrupt_takes_a_snapshot(tiny_model, data, tmp_path, mini_cfg):
    from mnc.data.roidb import prepare

    wrapper = SolverWrapper(str(tiny_model / "solver.prototxt"), *prepare(data), tmp_path)
    wrapper.solver.add_callback(lambda: wrapper.solver.iter == 1
                                and os.kill(os.getpid(), signal.SIGINT), lambda: None)
    before = signal.getsignal(signal.SIGINT)
    assert [path.name
            for path in wrapper.train_model(50)] == ["mini_mnc_5stage_iter_2.caffemodel.h5"]
    assert signal.getsignal(signal.SIGINT) is before


def test_weights_without_a_masked_path_are_told(tiny_model, mini_cfg, tmp_path, caplog):
    net = caffe.Net(str(tiny_model / "train.prototxt"), caffe.TRAIN)
    net.save(str(tmp_path / "all.caffemodel"))
    message = read_caffemodel(tmp_path / "all.caffemodel")
    plain = [layer for layer in message.layer if not layer.name.startswith(("fc6_", "fc7_"))]
    del message.layer[:]
    message.layer.extend(plain)
    (tmp_path / "plain.caffemodel").write_bytes(message.SerializeToString())
    for name, told in (("plain", True), ("all", False)):
        other = caffe.Net(str(tiny_model / "train.prototxt"), caffe.TRAIN)
        load_for_training(other, tmp_path / f"{name}.caffemodel")
        assert told == ("plain.caffemodel has nothing for fc6_mask, fc7_mask" in caplog.text)
        caplog.clear()
    make_mask_init(tmp_path / "plain.caffemodel", tmp_path / "made.caffemodel")
    load_for_training(caffe.Net(str(tiny_model / "train.prototxt"), caffe.TRAIN),
                      tmp_path / "made.caffemodel")
    assert "make_mask_init" not in caplog.text


def test_a_picture_that_fails_costs_nothing(run, monkeypatch, tmp_path, capsys, caplog):
    """Nor does what is said while drawing come between the two lines that scripts read."""
    def fail(*paths):
        print("building the font cache")
        raise RuntimeError("no fonts")

    monkeypatch.setattr(loop, "draw_losses", fail)
    written = run("a", 2)[-1]
    said = capsys.readouterr().out
    assert f"Wrote snapshot to: {written}\ndone solving\nbuilding" in said
    assert "no picture of the losses: RuntimeError: no fonts" in caplog.text


def test_solver_without_a_net(tmp_path, data):
    (tmp_path / "solver.prototxt").write_text("base_lr: 0.1")
    with pytest.raises(TrainingError, match="solver.prototxt: it names no train_net"):
        train(str(tmp_path / "solver.prototxt"), data, tmp_path)


def test_an_error_in_the_middle_costs_nothing_that_was_trained(run, data, monkeypatch, tmp_path):
    reads = []

    def read(path, size):
        reads.append(path)
        if len(reads) == 3:
            raise DataError(f"{path}: not a decodable image")
        return read_image(path, size)

    monkeypatch.setattr("mnc.data.minibatch.read_image", read)
    with pytest.raises(DataError, match="not a decodable image"):
        run("out", 5)
    assert (tmp_path / "out/mini_mnc_5stage_iter_2.caffemodel.h5").exists()
    assert (tmp_path / "out/mini_mnc_5stage_iter_2.solverstate.h5").exists()


def test_no_snapshots_but_the_last(run, mini_cfg):
    mini_cfg.TRAIN.SNAPSHOT_ITERS = 0
    (path,) = run("out", 2)
    assert path.name == "mini_mnc_5stage_iter_2.caffemodel.h5"


# --- what lies beside the work costs none of it --------------------------------------------------

def losses(folder):
    """The rows of the table without those columns that are times."""
    with open(folder / "metrics.csv", newline="") as file:
        return [[value for name, value in row.items()
                 if not name.startswith("seconds") and name != "eta"]
                for row in csv.DictReader(file)]


def test_losses_go_on_as_if_nothing_had_happened(run, mini_cfg, tmp_path):
    """Iteration 23 lies between two rows: the sums since the last one are in the state."""
    mini_cfg.TRAIN.SNAPSHOT_ITERS = 23
    run("whole", 40)
    run("parts", 23)
    run("parts", 40, resume="auto")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert [row[0] for row in losses(tmp_path / "whole")] == ["20", "40"]


@pytest.mark.parametrize("cut", ["40,0.12", "40", "\0\xff", "4x,1,2\n", "iteration,"])
def test_a_cut_loss_file_costs_its_row_and_nothing_else(cut, run, tmp_path, tiny_model):
    run("out", 20)
    path = tmp_path / "out/metrics.csv"
    whole = path.read_text()
    path.write_text(whole + cut, encoding="latin-1")
    with open(tmp_path / "out/metrics.jsonl", "a", encoding="latin-1") as file:
        file.write(cut)
    assert [p.name for p in run("out", 21, resume="auto")] == \
        ["mini_mnc_5stage_iter_21.caffemodel.h5"]
    assert path.read_text() == whole
    assert [[row["iteration"], *row.keys() & {"run", "losses", "end"}]
            for row in read_rows(tmp_path / "out/metrics.jsonl")] == [
        [0, "run"], [20, "losses"], [20, "end"], [20, "run"], [21, "end"]]


def test_pictures_settings_and_losses_that_cannot_be_written_are_warnings(
        run, mini_cfg, tmp_path, monkeypatch, caplog, capsys):
    def full(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr("mnc.training.loop.draw_losses", full)
    monkeypatch.setattr("mnc.training.loop.save_settings", full)
    monkeypatch.setattr("mnc.training.watching.Table.write", full)
    assert len(run("out", 20)) == 1
    for said in ("no picture of the losses", "no settings beside it"):
        assert said in caplog.text
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == "done solving"
    assert printed.err.count("metrics.csv: no metrics go there from iteration") == 1


def test_keep_removes_all_files_of_a_snapshot(run, mini_cfg, tmp_path):
    mini_cfg.TRAIN.SNAPSHOT_ITERS = 1
    run("out", 3, keep=1)
    assert sorted(p.name for p in (tmp_path / "out").glob("*_iter_*")) == [
        f"mini_mnc_5stage_iter_3.{kind}" for kind in ("caffemodel.h5", "solverstate.h5", "yml")]


def test_sigterm_and_sighup(tiny_model, data, tmp_path, mini_cfg):
    from mnc.data.roidb import prepare

    wrapper = SolverWrapper(str(tiny_model / "solver.prototxt"), *prepare(data), tmp_path)
    signals = {1: signal.SIGHUP, 3: signal.SIGTERM}
    wrapper.solver.add_callback(
        lambda: wrapper.solver.iter in signals
        and os.kill(os.getpid(), signals[wrapper.solver.iter]), lambda: None)
    assert [path.name for path in wrapper.train_model(50)] == [
        f"mini_mnc_5stage_iter_{n}.caffemodel.h5" for n in (2, 4)]
    assert wrapper.solver.stopped_by == signal.SIGTERM


def test_a_nan_loss_stops_the_training(tiny_model, data, tmp_path, mini_cfg):
    from mnc.data.roidb import prepare

    wrapper = SolverWrapper(str(tiny_model / "solver.prototxt"), *prepare(data), tmp_path)
    wrapper.solver.add_callback(lambda: wrapper.solver.iter == 2 and wrapper.solver.net.params[
        "seg_cls_score_ext"][1].data.fill(np.nan), lambda: None)
    mini_cfg.TRAIN.SNAPSHOT_ITERS = 1
    with pytest.raises(caffe.extend.CaffeError,
                       match=r'parameter 1 of layer "seg_cls_score".*iter_2.caffemodel.h5'):
        wrapper.train_model(3)


@pytest.mark.parametrize("kind", ["caffemodel", "caffemodel.h5"])
def test_weights_of_other_classes_and_anchors_begin_all_but_those_layers(tmp_path, mini_cfg, caplog,
                                                                         kind):
    def net(name, **sizes):
        return caffe.Net(str(generate("Mini", "mnc_5stage", tmp_path / name, **sizes)[0]),
                         caffe.TRAIN)
    old, path = net("old", classes=6), tmp_path / f"old.{kind}"
    old.save_hdf5(str(path)) if kind.endswith("h5") else old.save(str(path))
    mini_cfg.ANCHOR_SCALES = [2, 4]
    new = net("new", classes=3, anchors=6)
    before = {name: blobs[0].data.copy() for name, blobs in new.params.items()}
    load_for_training(new, path)
    warning, = [r.getMessage() for r in caplog.records if "of other sizes" in r.getMessage()]
    left_out = warning.partition("begin anew: ")[2].split(", ")
    assert {"cls_score", "seg_cls_score", "bbox_pred", "rpn_cls_score", "rpn_bbox_pred"} <= set(
        left_out)
    for name, blobs in new.params.items():
        expected = before if name in left_out else {n: b[0].data for n, b in old.params.items()}
        np.testing.assert_array_equal(blobs[0].data, expected[name], err_msg=name)
    with pytest.raises(caffe.WeightsError, match='layer "rpn_cls_score"'):
        new.copy_from(str(path))                        # pycaffe stays strict
