"""Data sets: annotated images, the data bases of RoIs and masks made from them, minibatches."""

from mnc.data.dataset import (
    Annotation,
    DataError,
    Dataset,
    Joined,
    Subset,
    problems,
    without_problems,
)
from mnc.data.imdb import DATASETS, get_dataset, register
from mnc.data.labelled import LabelledImage, LabelledImages, Shape

__all__ = ["DATASETS", "Annotation", "DataError", "Dataset", "Joined", "LabelledImage",
           "LabelledImages", "Shape", "Subset", "get_dataset", "problems", "register",
           "without_problems"]
