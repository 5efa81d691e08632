"""Nets that do not fit the data set are refused with the command that makes one that does."""

from __future__ import annotations

import pytest

from mnc.nets import Layout, generate
from mnc.nets.fit import TrainingError, check_net


def test_a_net_for_other_classes_is_refused_with_the_command_that_helps(tmp_path):
    train_net = generate("Mini", "mnc_5stage", tmp_path / "mnc_5stage", classes=21)[0]
    with pytest.raises(TrainingError) as error:
        check_net(train_net, ("__background__", "a", "b"))
    assert "21 classes, the data set has 3" in str(error.value)
    command = next(line.strip() for line in str(error.value).splitlines() if "generate.py" in line)
    options = dict(zip(command.split()[2::2], command.split()[3::2]))
    assert options == {"--net": "Mini", "--task": "mnc_5stage", "--classes": "3", "--anchors": "9",
                       "--out": "output/models/Mini/mnc_5stage_3_classes"}


@pytest.mark.parametrize("net, task, context", [
    ("VGG16", "faster_rcnn_end2end", False),            # named VGG_ILSVRC_16_layers inside
    ("Mini", "mnc_5stage", True)])
@pytest.mark.parametrize("first_line", [True, False])
def test_the_command_makes_the_same_net_for_the_other_classes(tmp_path, net, task, context,
                                                              first_line):
    path = generate(net, task, tmp_path / task, layout=Layout(context=context))[0]
    if not first_line:                                  # as the public code's files
        path.write_text(path.read_text().partition("\n")[2])
    with pytest.raises(TrainingError) as error:
        check_net(path, "abcd")
    folder = f"output/models/{net}/{task}{'_context' * context}_4_classes"
    assert (f"generate.py --net {net} --task {task} --classes 4 --anchors 9"
            f"{' --context' * context} --out {folder}\n") in str(error.value)


def test_the_command_does_not_hang_on_names_of_folders(tmp_path):
    path = generate("Mini", "mnc_5stage", tmp_path / "net")[0]
    with pytest.raises(TrainingError, match="--net Mini --task mnc_5stage --classes 4"):
        check_net(path, "abcd")
    path.write_text(path.read_text().partition("\n")[2])
    with pytest.raises(TrainingError, match="Change its num_classes, num_output and anchors"):
        check_net(path, "abcd")


def test_a_net_for_other_anchors_is_refused(tiny_model, mini_cfg):
    mini_cfg.ANCHOR_SCALES = [2, 4]
    with pytest.raises(TrainingError, match="9 anchors per cell, the configuration 6"):
        check_net(tiny_model / "test.prototxt", range(6))
