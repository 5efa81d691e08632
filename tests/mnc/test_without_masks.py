"""Images with boxes but without masks train the box losses and no mask loss."""

from __future__ import annotations

import numpy as np
import pytest

import caffe
from mnc.data import get_dataset
from mnc.data.roidb import prepare
from mnc.training.loop import SolverWrapper
from small_data import write_voc

BOXES = [("cat", 12, 20, 90, 110, 0), ("dog", 100, 30, 180, 150, 0), ("dog", 1, 1, 9, 9, 1)]


@pytest.fixture
def boxes(tmp_path, tiny_scenes):
    """Two images of the scenes' classes in the VOC layout."""
    (tmp_path / "boxes").mkdir()
    names = (tiny_scenes / "classes.txt").read_text().split()
    (tmp_path / "boxes" / "classes.txt").write_text("\n".join(names))
    objects = [(names[0] if name == "cat" else names[1], *rest) for name, *rest in BOXES]
    for name in ("a", "b"):
        write_voc(tmp_path / "boxes", name, objects, size=(160, 200))
    return f"voc:{tmp_path / 'boxes'}:train"


@pytest.fixture
def net(tiny_model, mini_cfg):
    return caffe.Net(str(tiny_model / "train.prototxt"), caffe.TRAIN)


def test_mask_losses_are_skipped(net, boxes):
    roidb, maskdb = prepare(get_dataset(boxes))
    assert all(len(entry["gt_classes"]) == 2 for entry in roidb)          # the difficult one is not
    net.layers[0].set_roidb(roidb)
    net.layers[0].set_maskdb(maskdb)
    for _ in range(3):
        net.clear_param_diffs()
        losses = net.forward()
        net.backward()
        for name in ("loss_mask", "loss_mask_ext", "seg_cls_loss", "seg_cls_loss_ext"):
            assert losses[name] == 0, name
        for name in ("rpn_cls_loss", "rpn_loss_bbox", "cls_loss", "cls_loss_ext", "bbox_loss"):
            assert losses[name] > 0, name
        for name in ("mask_proposal_label", "mask_proposal_label_ext"):
            assert (net.blobs[name].data == -1).all()
        for name in ("mask_pred", "seg_cls_score"):
            assert not net.params[name][0].diff.any(), name
        for name in ("cls_score", "bbox_pred", "rpn_cls_score"):
            assert net.params[name][0].diff.any(), name
        assert (net.blobs["labels"].data > 0).any()


def test_an_image_with_some_masks(net, tiny_scenes):
    roidb, maskdb = prepare(get_dataset(f"sbd:{tiny_scenes}:train"))
    pick = next(i for i, entry in enumerate(roidb) if len(entry["gt_classes"]) > 1)
    masks = dict(maskdb[pick])
    masks["gt_masks"] = [None, *masks["gt_masks"][1:]]
    net.layers[0].set_roidb([roidb[pick]] * 2)
    net.layers[0].set_maskdb([masks] * 2)
    net.forward()
    info, labels = net.blobs["gt_masks_info"].data, net.blobs["mask_proposal_label"].data[:, 0]
    weight = net.blobs["mask_weight"].data[:, 0, 0, 0]
    bare, background = info[:, 0] == 0, info[:, 0] < 0
    assert bare.any() and background.any() and not (bare | background).all()
    assert (labels[bare] == -1).all() and (labels[~bare] >= 0).all()
    assert weight.tolist() == (~bare & ~background).astype(float).tolist()


def test_a_union_of_both_kinds_trains(boxes, tiny_scenes, tiny_model, mini_cfg, tmp_path):
    both = get_dataset(f"sbd:{tiny_scenes}:train+{boxes}")
    roidb, maskdb = prepare(both)
    assert len(roidb) == 2 * 8
    wrapper = SolverWrapper(str(tiny_model / "solver.prototxt"), roidb, maskdb, tmp_path / "out")
    wrapper.train_model(6)
    for layer in wrapper.solver.net.layers:
        assert all(np.isfinite(blob.data).all() for blob in layer.blobs), layer.name
