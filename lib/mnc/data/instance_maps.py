"""Maps in which every pixel has the number of its instance, as SBD and VOC keep them."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import find_objects

from mnc.data.dataset import Annotation


def instances(owner: np.ndarray, labels: np.ndarray) -> Annotation:
    """Annotation of the numbers 1..n in owner (H, W); one without a pixel has no box: left out."""
    boxes, masks, kept = [], [], []
    whole = owner if owner.dtype.kind in "iu" else owner.astype(np.int32)
    found = find_objects(whole, len(labels)) if len(labels) else []
    for k, (place, label) in enumerate(zip(found, labels), start=1):
        if place is None:
            continue
        rows, columns = place
        boxes.append((columns.start, rows.start, columns.stop - 1, rows.stop - 1))
        masks.append(owner[place] == k)
        kept.append(label)
    tight = np.array(boxes, np.float32).reshape(-1, 4)
    return Annotation(tight, np.array(kept, int), masks, owner.shape)
