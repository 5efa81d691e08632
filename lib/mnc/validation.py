"""A net in training measured on images it does not learn from: what `mnc train --val` hands in.

A room of its own, for mnc.commands.train_watching: it lies above testing and measuring, which
training does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import caffe
from caffe.extend import unchanged_random
from mnc.config import cfg
from mnc.data.dataset import DataError, Dataset
from mnc.drawing.instances import draw_instances, write_image
from mnc.evaluation.figures import figures_of, has_masks
from mnc.inference.cfm import ProposalFolder
from mnc.inference.networks import optimize
from mnc.inference.settings import TestSettings
from mnc.inference.shared import ByImage
from mnc.inference.whole_sets import Finder, of_the_set
from mnc.instances import ImageDetections, Instances
from mnc.nets.fit import check_net
from mnc.results.detections import Saved
from mnc.tasks import TASKS
from mnc.training.judging import Workers

OF_MASKS = ["COCO mAP^r@[.5:.95]", "COCO mAP^r@.5", "COCO mAP^r@.75", "mAP^r@0.5", "mAP^r@0.7",
            "COCO mAP^b@[.5:.95]", "mAP^b@0.5"]
OF_BOXES = ["COCO mAP^b@[.5:.95]", "COCO mAP^b@.5", "COCO mAP^b@.75", "mAP^b@0.5"]


class Validation:
    """The test net of a training, on its weights, and what it finds in a data set.

    A net of given regions takes those of DATA_DIR/MCG, as it does in training. Raises TrainingError
    for a net of other classes, DataError for data without an instance, an image without regions.
    """

    def __init__(self, dataset: Dataset, prototxt: Path, *, every: int, patience: int = 0,
                 drawn: int = 6, score: float = 0.5) -> None:
        self.dataset, self.name = dataset, dataset.name
        self.every, self.patience = every, patience
        self.drawn, self.score = drawn, score       # pictures, and the least score in them
        check_net(prototxt, dataset.classes)
        check_instances(dataset)
        with unchanged_random():                    # fillers draw
            self.net = caffe.Net(str(prototxt), caffe.TEST)
        # weights change at each validation: there is no calibrating anew
        optimize(self.net, "fp32" if cfg.TEST.PRECISION == "int8" else cfg.TEST.PRECISION,
                 cfg.TEST.BACKEND)
        given = "rois" in self.net.inputs
        self.task = TASKS["cfm" if given else
                          "seg" if "mask_proposal" in self.net.blobs else "det"]
        self.regions = ProposalFolder(Path(cfg.DATA_DIR, "MCG"), dataset) if given else None
        masks = self.task.masks and has_masks(dataset)
        self.figures = OF_MASKS if masks else OF_BOXES
        self._found: Sequence[ImageDetections] = ()

    def measure(self, net: caffe.Net, tell: Callable[[int, int], bool],
                workers: Workers) -> dict[str, float] | None:
        """Figures of the weights of `net`, of the images that the workers share, at worker 0.

        None at the others, and where `tell` broke it off.
        """
        settings = TestSettings.of(cfg)
        parts = workers.gathered(self._detections(net, settings, tell, workers)) or []
        found = {i: detections for part in parts for i, detections in part.items()}
        if len(found) < len(self.dataset):
            return None
        whole = of_the_set([found[i] for i in sorted(found)], settings, self.task)
        self._found = list(zip(*whole))
        saved = Saved(whole, self.task, about={"settings": {"TEST": cfg.TEST}})
        measured: Any = figures_of(saved, self.dataset, cfg.BINARIZE_THRESH, ("voc", "coco"),
                              progress=False)
        return {name: float(measured.get(name, np.nan)) for name in self.figures}

    def _detections(self, net: caffe.Net, settings: TestSettings,
                    tell: Callable[[int, int], bool], workers: Workers) -> ByImage:
        """Of this worker's images, until `tell` says no."""
        count, found = len(self.dataset), ByImage()
        self.net.share_with(net)
        finder = Finder(self.net, settings, self.task, self.regions, shown=False)
        for i, detections in finder.images(self.dataset, workers.deal(count)):
            if not tell(i + 1, count):
                break
            found[i] = detections
        self.net.share_with(net)        # what was made of the weights for testing goes
        return found

    def pictures(self, folder: Path) -> list[str]:
        """What was found last, in images from all over the set: FOLDER/0.jpg …; their names."""
        count = len(self._found)
        chosen = np.linspace(0, count - 1, min(self.drawn, count)).astype(int).tolist()
        names = []
        for number, i in enumerate(chosen):
            found = Instances.from_detections(self._found[i], self.score)
            if not self.task.masks:
                found = replace(found, masks=np.zeros((len(found), 2, 2), np.float32))
            picture = draw_instances(self.dataset.image(i), found, self.dataset.classes,
                                     cfg.BINARIZE_THRESH, short_side=240)
            names.append(f"{number}.jpg")
            write_image(folder / names[-1], picture)
        self._found = ()
        return names


def check_instances(dataset: Dataset) -> None:
    """Raises DataError where no image has an instance to find: no AP could be measured."""
    for i in range(len(dataset)):
        if not dataset.annotation(i).ignored.all():
            return
    raise DataError(f"--val {dataset.name}: none of its {len(dataset)} images has an instance of "
                    f"{', '.join(dataset.classes[1:11])}: there is nothing to measure AP on")
