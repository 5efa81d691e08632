"""Files of results (docs/file_formats.md), and what made them."""

from mnc.results.detections import load_detections, measure, save_detections

__all__ = ["load_detections", "measure", "save_detections"]
