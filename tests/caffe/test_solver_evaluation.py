"""mAP in the solver's log, as SSD's solver makes it of DetectionEvaluate's rows."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from google.protobuf import text_format

import caffe
from caffe.engine.errors import PrototxtError
from caffe.engine.solving.evaluation import AP_VERSIONS, MeanAveragePrecision, MeanOutputs
from caffe.proto import caffe_pb2

# 4 objects; hit, miss, hit, hit by falling score
PRECISION, RECALL = np.array([1, 0.5, 2 / 3, 0.75]), np.float32([0.25, 0.25, 0.5, 0.75])


@pytest.mark.parametrize("version, wanted", [
    ("Integral", 0.25 * (1 + 2 / 3 + 0.75)),
    ("MaxIntegral", 0.25 * (1 + 0.75 + 0.75)),
    ("11point", (3 * 1 + 5 * 0.75) / 11),       # 0, 0.1, 0.2 and 0.3 to 0.7
])
def test_average_precision_by_hand(version, wanted):
    assert AP_VERSIONS.get(version)(PRECISION, RECALL) == pytest.approx(wanted)


def test_a_recall_of_seven_tenths_misses_its_point():
    """Its float32 is below the double 0.7, in SSD and here."""
    recall = np.float32([0.7])
    assert AP_VERSIONS.get("11point")(np.ones(1), recall) == pytest.approx(7 / 11)


def solver(detections: list, objects: list, more: str = "", batches: int = 1):
    """A solver whose test net shows these rows, the same in each batch."""
    def source(name, rows, width):
        values = np.array(rows, float).reshape(-1, width)
        return (f"layer {{ name: '{name}' type: 'Input' top: '{name}' input_param {{ shape {{ "
                f"dim: 1 dim: 1 dim: {len(values)} dim: {width} }} }} }}")
    net = f"""{source('det', detections, 7)} {source('gt', objects, 8)}
    layer {{ name: 'eval' type: 'DetectionEvaluate' bottom: 'det' bottom: 'gt' top: 'detection_eval'
      detection_evaluate_param {{ num_classes: 4 }} }}"""
    param = caffe_pb2.SolverParameter()
    eval_type = '' if 'eval_type' in more else "eval_type: 'detection'"
    text_format.Parse(f"""base_lr: 0.1 lr_policy: 'fixed' {eval_type} test_interval: 1
        test_iter: {batches} snapshot_after_train: false solver_mode: CPU {more}""", param)
    text_format.Parse("layer { name: 'x' type: 'DummyData' top: 'x' dummy_data_param { shape { "
                      "dim: 1 } } }", param.train_net_param)
    text_format.Parse(net, param.test_net_param.add())
    made = caffe.get_solver(param)
    for name, rows in (("det", detections), ("gt", objects)):
        made.test_nets[0].blobs[name].data[...] = np.reshape(rows, (1, 1, len(rows), -1))
    return made


BOX = [0.1, 0.1, 0.5, 0.5]
FAR = [0.6, 0.6, 0.9, 0.9]
OBJECTS = [[0, 1, 0, *BOX, 0], [0, 2, 0, *FAR, 0]]
DETECTIONS = [[0, 1, 0.9, *FAR], [0, 1, 0.8, *BOX], [0, 2, 0.7, *FAR]]


def lines(caplog, wanted: str) -> list[str]:
    return [r.getMessage() for r in caplog.records if wanted in r.getMessage()]


@pytest.fixture
def heard(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("caffe"), "propagate", True)
    caplog.set_level(logging.INFO, "caffe")
    return caplog


def test_map_is_in_the_log(heard):
    """Class 1: two misses, then two hits; class 2: hits; class 3 has no object and counts."""
    solver(DETECTIONS, OBJECTS, "show_per_class_result: true", batches=2).test_all()
    assert lines(heard, "class") == ["class1: 0.416667", "class2: 1"]
    assert lines(heard, "net output") == ["    Test net output #0: detection_eval = 0.472222"]
    assert lines(heard, "Missing") == ["Missing true_pos for label: 3"]


def test_nothing_detected_is_zero(heard):
    solver([[0, -1, -1, -1, -1, -1, -1]], OBJECTS).test_all()
    assert lines(heard, "net output") == ["    Test net output #0: detection_eval = 0"]


def test_other_outputs_are_an_error_that_says_what_to_do():
    made = solver(DETECTIONS, OBJECTS)
    made.test_nets[0].blobs["detection_eval"].reshape(1, 1, 3, 4)
    with pytest.raises(PrototxtError, match=r'"detection_eval" has the shape .* Silence'):
        MeanAveragePrecision(made.param).add(made.test_nets[0])


@pytest.mark.parametrize("more, message", [
    ("eval_type: 'detections'", 'eval_type "detections"; did you mean "detection"'),
    ("ap_version: '11points'", 'did you mean "11point"')])
def test_what_does_not_exist_is_said_before_training(more, message):
    with pytest.raises(PrototxtError, match=message.replace("?", r"\?")):
        solver(DETECTIONS, OBJECTS, more)


def test_outputs_of_changing_size_have_no_mean():
    made = solver(DETECTIONS, OBJECTS)
    net, means = made.test_nets[0], MeanOutputs(None)
    net.forward()
    means.add(net)
    net.blobs["det"].reshape(1, 1, 1, 7)
    net.blobs["det"].data[...] = DETECTIONS[0]
    net.forward()
    with pytest.raises(PrototxtError, match='"detection_eval" has 20 values, .* before 30'):
        means.add(net)
