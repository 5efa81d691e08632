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
from mnc.data.imdb import DATASETS, get_dataset

__all__ = ["DATASETS", "Annotation", "DataError", "Dataset", "Joined", "Subset", "get_dataset",
           "problems", "without_problems"]
