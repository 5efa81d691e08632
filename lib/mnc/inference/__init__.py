"""From images to detections: nets, scales, mirrored images, passes, voting or NMS."""

from mnc.inference.cascade import (
    PRECISIONS,
    TASKS,
    Detections,
    Instances,
    detect_boxes,
    im_detect,
    load_net,
    optimize,
    segment_image,
    test_dataset,
    test_images,
)
from mnc.instances import InferenceError

__all__ = ["PRECISIONS", "TASKS", "Detections", "InferenceError", "Instances", "detect_boxes",
           "im_detect", "load_net", "optimize", "segment_image", "test_dataset", "test_images"]
