"""One training image as the arrays of the data layer's tops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mnc.data.dataset import DataError
from mnc.data.images import image_blob, prepare_image, read_image, scale_for, scaled_by
from mnc.data.roidb import Entry, mask_entry
from mnc.data.views import Sample


def minibatch(rois: Entry, masks: Entry | None, pixel_means: np.ndarray, *, target_size: int,
              max_size: int, change: Callable[[Sample], Sample] | None = None,
              ) -> dict[str, np.ndarray]:
    """Arrays of one roidb entry and, if given, its maskdb entry; all float32.

    data (1, 3, H, W); im_info (1, 3): H, W, scale; gt_boxes (G, 5): box in the scaled image, class;
    gt_masks (G, tallest, widest): each mask at its original size in the upper left corner;
    mask_info (G, 2): h, w, or 0, 0 for an instance without a mask. `change` gives another image
    with its instances; "original" is then its size.
    """
    if change is None:
        scaled, scale = scaled_image(rois, pixel_means, target_size, max_size)
    else:
        sample = change(sample_of(rois, masks))
        scale = sample.zoom * scale_for(rois["height"], rois["width"], target_size, max_size)
        scaled = scaled_by(sample.image, scale, pixel_means)
        rois = {"boxes": sample.boxes, "gt_classes": sample.labels}
        masks = None if sample.masks is None else mask_entry(sample.masks)
    boxes = np.column_stack((rois["boxes"].astype(np.float64) * scale, rois["gt_classes"]))
    blobs = {"data": image_blob([scaled]), "gt_boxes": boxes.astype(np.float32),
             "im_info": np.array([(*scaled.shape[:2], scale)], np.float32)}
    return blobs if masks is None else blobs | padded_masks(masks)


def scaled_image(rois: Entry, pixel_means: np.ndarray, target_size: int,
                 max_size: int) -> tuple[np.ndarray, float]:
    """The image of a roidb entry, mirrored if it says so, ready for a blob; and its scale.

    (H', W', 3) float32. Raises DataError where it is not of the annotation's size.
    """
    return prepare_image(oriented_image(rois), pixel_means, target_size, max_size)


def oriented_image(rois: Entry) -> np.ndarray:
    """The image of a roidb entry, mirrored if it says so: (H, W, 3) uint8 BGR.

    Raises DataError where it is not of the annotation's size.
    """
    size = rois["height"], rois["width"]
    image = read_image(rois["image"], size)
    if image.shape[:2] != size:
        raise DataError(f"{rois['image']}: the image has {image.shape[1]} x {image.shape[0]} "
                        f"pixels, its annotation is for {rois['width']} x {rois['height']}")
    return image[:, ::-1] if rois["flipped"] else image


def sample_of(rois: Entry, masks: Entry | None) -> Sample:
    """The image of a roidb entry with its instances; of the maskdb entry, their masks."""
    return Sample(oriented_image(rois), rois["boxes"], rois["gt_classes"],
                  None if masks is None else masks["gt_masks"])


def padded_masks(entry: Entry) -> dict[str, np.ndarray]:
    """gt_masks and mask_info of a maskdb entry; h = w = 0 for an instance without a mask.

    (G, h, w) and (G, 2).
    """
    widest, tallest = entry["mask_max"]
    padded = np.zeros((len(entry["gt_masks"]), tallest, widest), np.float32)
    sizes = np.zeros((len(padded), 2), np.float32)
    for slot, size, mask in zip(padded, sizes, entry["gt_masks"]):
        if mask is not None:
            slot[:mask.shape[0], :mask.shape[1]] = mask
            size[:] = mask.shape
    return {"gt_masks": padded, "mask_info": sizes}
