"""From images to detections: nets, scales, mirrored images, passes, voting or NMS."""

from mnc.config import TEST_PRECISIONS as PRECISIONS
from mnc.inference.cascade import detect_boxes, im_detect, segment_image
from mnc.inference.networks import load_net, optimize
from mnc.inference.settings import TestSettings
from mnc.inference.whole_sets import test_dataset
from mnc.instances import Detections, InferenceError, Instances
from mnc.tasks import TASKS

__all__ = ["PRECISIONS", "TASKS", "Detections", "InferenceError", "Instances", "TestSettings",
           "detect_boxes", "im_detect", "load_net", "optimize", "segment_image", "test_dataset"]
