"""Functions with the arguments and results that scripts of the public MNC code expect.

mnc.legacy gives them their old places. New code uses what they call.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from caffe import ops
from mnc import config
from mnc.boxes import nms as suppression
from mnc.boxes.regression import Normalization
from mnc.boxes.regression import bbox_compute_targets as compute_targets
from mnc.config import cfg
from mnc.data.images import image_blob, prepare_image
from mnc.data.imdb import DATASETS, get_dataset
from mnc.data.roidb import Entry, MaskDB, prepare
from mnc.drawing.instances import color_map, paint
from mnc.evaluation.average_precision import average_precision
from mnc.instances import ImageDetections, Raw
from mnc.masks.voting import Voting, vote_masks, vote_masks_cpu
from mnc.results.names import folder_name
from mnc.sampling.proposal_targets import TargetForm, spread_over_classes
from mnc.training.loop import SolverWrapper as Solver

# --- boxes ---------------------------------------------------------------------------------------


def bbox_compute_targets(ex_rois: np.ndarray, gt_rois: np.ndarray, normalize: bool) -> np.ndarray:
    """(N, 4) float32; with `normalize` as cfg.TRAIN.BBOX_NORMALIZE_* say, where precomputed."""
    train = cfg.TRAIN
    known = normalize and train.BBOX_NORMALIZE_TARGETS_PRECOMPUTED
    means_and_stds = Normalization(train.BBOX_NORMALIZE_MEANS, train.BBOX_NORMALIZE_STDS)
    return compute_targets(ex_rois, gt_rois, means_and_stds if known else None)


def get_bbox_regression_label(bbox_target_data: np.ndarray,
                              num_class: int) -> tuple[np.ndarray, np.ndarray]:
    """(targets (N, 4K), inside weights (N, 4K)) of rows (label, 4 deltas)."""
    form = TargetForm(num_class, None, inside_weights=cfg.TRAIN.BBOX_INSIDE_WEIGHTS)
    return spread_over_classes(bbox_target_data[:, 0], bbox_target_data[:, 1:], form)


def nms(dets: np.ndarray, thresh: float) -> list[int]:
    """Rows to keep, by the rule of cfg.USE_GPU_NMS."""
    return suppression.nms(dets, thresh, not cfg.USE_GPU_NMS).tolist() if len(dets) else []


def cpu_nms(dets: np.ndarray, thresh: float) -> list[int]:
    """Rows to keep: IoU >= thresh goes."""
    return suppression.nms(dets, thresh, True).tolist()


def gpu_nms(dets: np.ndarray, thresh: float, device_id: int = 0) -> list[int]:
    """Rows to keep: IoU > thresh goes."""
    return suppression.nms(dets, thresh).tolist()


py_cpu_nms = gpu_nms                    # the same rule


def apply_nms(all_boxes: Sequence[Sequence], thresh: float) -> list[list]:
    """NMS of boxes[class][image] (n, 5); [] where there is nothing."""
    return [[apply_nms_mask_single(boxes, boxes, thresh)[0] for boxes in row] for row in all_boxes]


def apply_nms_mask(all_boxes: Sequence[Sequence], all_masks: Sequence[Sequence],
                   thresh: float) -> tuple[list[list], list[list]]:
    """NMS of boxes[class][image] (n, 5), and the masks that go with them."""
    kept = [[apply_nms_mask_single(*pair, thresh) for pair in zip(*row)]
            for row in zip(all_boxes, all_masks)]
    return [[b for b, _ in row] for row in kept], [[m for _, m in row] for row in kept]


def apply_nms_mask_single(box: np.ndarray, mask: np.ndarray, thresh: float) -> tuple:
    """NMS of boxes (n, 5) and masks (n, ...); [] and [] where there is nothing."""
    keep = nms(np.asarray(box), thresh)
    return (np.asarray(box)[keep], np.asarray(mask)[keep]) if keep else ([], [])


# --- masks ---------------------------------------------------------------------------------------

def gpu_mask_voting(masks: np.ndarray, boxes: np.ndarray, scores: np.ndarray, num_classes: int,
                    max_per_image: int, im_width: int, im_height: int) -> tuple[list, list]:
    """(masks (n, 1, S, S), boxes (n, 5)), each a list over the classes without the background."""
    of_boxes, of_masks = _pair(vote_masks(Raw(boxes, masks, scores[:, :num_classes]),
                                          (im_height, im_width), _voting(max_per_image)))
    return of_masks, of_boxes


def cpu_mask_voting(masks: np.ndarray, boxes: np.ndarray, scores: np.ndarray, num_classes: int,
                    max_per_image: int, im_width: int, im_height: int) -> tuple[list, list]:
    """(boxes, masks): the other order, as it was."""
    return _pair(vote_masks_cpu(Raw(boxes, masks, scores[:, :num_classes]),
                                (im_height, im_width), _voting(max_per_image)))


def mv(all_boxes: np.ndarray, all_masks: np.ndarray, candidate_inds: np.ndarray,
       candidate_start: np.ndarray, candidate_weights: np.ndarray, image_height: int,
       image_width: int, device_id: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(masks (K, 1, S, S), boxes (K, 4) int32) voted by boxes (N, 4) with masks (N, 1, S, S).

    candidate_start[k] is where the members of result k end in candidate_inds.
    """
    arrays: Any = [torch.from_numpy(np.ascontiguousarray(array)) for array in (
        all_boxes, all_masks, candidate_inds, candidate_start, candidate_weights)]
    arrays += [int(image_height), int(image_width), cfg.BINARIZE_THRESH]
    found = ops.mask_voting(*arrays)
    masks, boxes = (each.numpy() for each in found)
    return masks[:, None], boxes


def _voting(most: int) -> Voting:
    """As cfg says now."""
    return Voting(cfg.TEST.MASK_MERGE_NMS_THRESH, cfg.TEST.MASK_MERGE_IOU_THRESH,
                  cfg.BINARIZE_THRESH, not cfg.USE_GPU_NMS, most)


def _pair(found: ImageDetections) -> tuple[list, list]:
    """(boxes, masks (n, 1, S, S)) of each class without the background."""
    return [boxes for boxes, _ in found[1:]], [np.asarray(masks)[:, None] for _, masks in found[1:]]


def _convert_pred_to_image(img_width: int, img_height: int,
                           pred_dict: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """(instance map, class map) of {"boxes", "masks", "cls_name"}, lists of as many."""
    return paint(pred_dict["boxes"], pred_dict["masks"], pred_dict["cls_name"],
                 (img_height, img_width), cfg.BINARIZE_THRESH)


def _get_voc_color_map(n: int = 256) -> np.ndarray:
    """(n, 3) R, G, B of VOC's palette, float."""
    return color_map(n).astype(float)


# --- images, time, figures -----------------------------------------------------------------------

def prep_im_for_blob_cfm(im: np.ndarray,
                         input_scales: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """(blob with the image at each scale, the factors)"""
    prepared = [prepare_image(im, cfg.PIXEL_MEANS, side, cfg.TEST.MAX_SIZE)
                for side in input_scales]
    return image_blob([image for image, _ in prepared]), np.array([scale for _, scale in prepared])


class Timer:
    """tic(), toc() -> seconds: the mean of all rounds, or of the last with average=False."""

    def __init__(self) -> None:
        self.total_time = self.start_time = self.diff = self.average_time = 0.0
        self.calls = 0

    def tic(self) -> None:
        self.start_time = time.time()

    def toc(self, average: bool = True) -> float:
        self.diff = time.time() - self.start_time
        self.total_time += self.diff
        self.calls += 1
        self.average_time = self.total_time / self.calls
        return self.average_time if average else self.diff


def voc_ap(rec: np.ndarray, prec: np.ndarray, use_07_metric: bool = False) -> float:
    return average_precision(rec, prec, eleven_point=use_07_metric)


# --- data, training, testing ---------------------------------------------------------------------

def get_imdb(name: str):
    return get_dataset(name)


def list_imdbs() -> list[str]:
    return list(DATASETS)


def get_roidb(imdb_name: str) -> list[Entry]:
    return attach_roidb(imdb_name)[1]


def attach_roidb(imdb_name: str) -> tuple[object, list[Entry]]:
    """(data set, roidb)"""
    dataset = get_dataset(imdb_name)
    return dataset, prepare(dataset, cfg.TRAIN.USE_FLIPPED)[0]


def get_maskdb(imdb_name: str) -> MaskDB:
    return attach_maskdb(imdb_name)[1]


def attach_maskdb(imdb_name: str) -> tuple[object, MaskDB]:
    """(data set, maskdb)"""
    dataset = get_dataset(imdb_name)
    return dataset, prepare(dataset, cfg.TRAIN.USE_FLIPPED)[1]


def get_output_dir(imdb, net=None) -> str:
    """The folder of a data set's results, or of a net's on it; both by their names or themselves.

    It is not made here.
    """
    names = [getattr(each, "name", each) for each in (imdb, net)]
    return config.get_output_dir(folder_name(names[0]), names[1])


def PascalVOCSeg(image_set: str, year: str, devkit_path: str | None = None):
    """The data set voc_YEAR_seg_SPLIT; its files lie where cfg.DATA_DIR says."""
    return get_dataset(f"voc_{year}_seg_{image_set}", _parent(devkit_path))


def PascalVOCDet(image_set: str, year: str, devkit_path: str | None = None):
    """The data set voc_YEAR_SPLIT."""
    return get_dataset(f"voc_{year}_{image_set}", _parent(devkit_path))


def _parent(devkit: str | None) -> Path | None:
    return None if devkit is None else Path(devkit).parent


class SolverWrapper(Solver):
    """With the data set among its arguments, which nothing needs."""

    def __init__(self, solver_prototxt: str, roidb: list[Entry], maskdb: list[Entry],
                 output_dir: str, imdb: object, pretrained_model: str | None = None) -> None:
        super().__init__(solver_prototxt, roidb, maskdb, output_dir, pretrained_model)


class TesterWrapper:
    """`mnc test` of one net; get_result() runs it, prints the figures and keeps the results."""

    def __init__(self, test_prototxt: str, imdb, test_model: str, task_name: str) -> None:
        self.arguments = ["test", "--def", test_prototxt, "--net", test_model, "--imdb", imdb.name,
                          "--task", task_name]

    def get_result(self) -> None:
        from caffe.extend import together
        from mnc.cli import parsers

        args = parsers("test")[0].parse_args(list(map(str, self.arguments)))
        with together() as args.team:
            args.run(args)
