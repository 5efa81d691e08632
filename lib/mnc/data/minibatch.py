"""One training image as the arrays of the data layer's tops."""

from __future__ import annotations

import numpy as np

from mnc.data.dataset import DataError
from mnc.data.images import image_blob, prepare_image, read_image
from mnc.data.roidb import Entry


def minibatch(rois: Entry, masks: Entry | None, pixel_means: np.ndarray, *, target_size: int,
              max_size: int) -> dict[str, np.ndarray]:
    """Arrays of one roidb entry and, if given, its maskdb entry; all float32.

    data (1, 3, H, W); im_info (1, 3): H, W, scale; gt_boxes (G, 5): box in the scaled image, class;
    gt_masks (G, tallest, widest): each mask at its original size in the upper left corner;
    mask_info (G, 2): h, w.
    """
    image = read_image(rois["image"])
    if image.shape[:2] != (rois["height"], rois["width"]):
        raise DataError(f"{rois['image']}: the image has {image.shape[1]} x {image.shape[0]} "
                        f"pixels, its annotation is for {rois['width']} x {rois['height']}")
    if rois["flipped"]:
        image = image[:, ::-1]
    scaled, scale = prepare_image(image, pixel_means, target_size, max_size)
    boxes = np.column_stack((rois["boxes"].astype(np.float64) * scale, rois["gt_classes"]))
    blobs = {"data": image_blob([scaled]), "gt_boxes": boxes.astype(np.float32),
             "im_info": np.array([(*scaled.shape[:2], scale)], np.float32)}
    return blobs if masks is None else blobs | padded_masks(masks)


def padded_masks(entry: Entry) -> dict[str, np.ndarray]:
    """gt_masks and mask_info of a maskdb entry."""
    widest, tallest = entry["mask_max"]
    padded = np.zeros((len(entry["gt_masks"]), tallest, widest), np.float32)
    for slot, mask in zip(padded, entry["gt_masks"]):
        slot[:mask.shape[0], :mask.shape[1]] = mask
    sizes = np.array([mask.shape for mask in entry["gt_masks"]], np.float32)
    return {"gt_masks": padded, "mask_info": sizes.reshape(-1, 2)}
