"""What a solver makes of a test net's outputs: SolverParameter.eval_type."""

from __future__ import annotations

from collections import defaultdict
from itertools import zip_longest
from typing import Any

import numpy as np

from caffe.engine import log
from caffe.engine.errors import PrototxtError
from caffe.engine.net.net import Net
from caffe.engine.registry import Registry
from caffe.engine.solving.progress import log_outputs, output_values

EVALUATIONS = Registry("eval_type", PrototxtError)      # name -> class, made of a SolverParameter
AP_VERSIONS = Registry("ap_version", PrototxtError)     # name -> (precision, recall) -> AP
LEAST_STEP = 1e-6       # of recall that counts


@EVALUATIONS.register("classification")
class MeanOutputs:
    """The mean of each value of each output over the batches."""

    def __init__(self, param: Any) -> None:
        self.batches, self.sums = 0, dict[str, Any]()

    def add(self, net: Net) -> None:
        """Take the outputs of one batch.

        Raises PrototxtError where an output has another size than before.
        """
        self.batches += 1
        for name, values in output_values(net).items():
            sums = self.sums.setdefault(name, np.zeros_like(values))
            if sums.shape != values.shape:
                raise PrototxtError(
                    f'the output "{name}" has {len(values)} values, in the batches before '
                    f"{len(sums)}: there is no mean. Outputs of DetectionEvaluate need eval_type: "
                    f'"detection" in the solver file (caffe test: --ap_version); silence others')
            sums += values

    def join(self, parts: list[MeanOutputs]) -> None:
        """Become the result of all workers' batches, this one's among them."""
        sums: dict[str, Any] = {}
        for part in parts:
            for name, values in part.sums.items():
                sums[name] = sums.get(name, 0) + values
        self.batches, self.sums = sum(part.batches for part in parts), sums

    def log(self, net: Net) -> None:
        """Write the result of all batches."""
        log_outputs(net, log.TEST_OUTPUT, self.means())

    def figures(self) -> dict[str, float]:
        """The means of outputs of one value, by name."""
        return {name: float(mean[0]) for name, mean in self.means().items() if len(mean) == 1}

    def means(self) -> dict[str, np.ndarray]:
        """The mean of each value of each output so far. Each of the shape (values,)."""
        return {name: total / self.batches for name, total in self.sums.items()}


@EVALUATIONS.register("detection")
class MeanAveragePrecision:
    """mAP of the outputs, each of a DetectionEvaluate; classes without objects count, with 0

    Where nothing at all was detected SSD writes no line; this writes 0.
    """

    def __init__(self, param: Any) -> None:
        self.average_precision = AP_VERSIONS.get(param.ap_version)
        self.by_class = param.show_per_class_result
        self.rows: dict[str, list[np.ndarray]] = defaultdict(list)

    def add(self, net: Net) -> None:
        """Take the outputs of one batch; PrototxtError if they are not DetectionEvaluate's."""
        for name in net.outputs:
            values = net.blobs[name].tensor.float().cpu().numpy()
            if values.shape[-1:] != (5,):
                raise PrototxtError(
                    f'eval_type: "detection" needs outputs of DetectionEvaluate; the test net\'s '
                    f'"{name}" has the shape {values.shape}. Silence it, or leave eval_type out')
            self.rows[name].append(values.reshape(-1, 5).copy())

    def join(self, parts: list[MeanAveragePrecision]) -> None:
        """Become the result of all workers' batches, in the order in which they come in turn."""
        self.rows = {name: [rows for turn in zip_longest(*(part.rows[name] for part in parts))
                            for rows in turn if rows is not None] for name in parts[0].rows}

    def log(self, net: Net) -> None:
        """Write the result of all batches."""
        for number, name in enumerate(net.outputs):
            found = self.average_precisions(name)
            for label, precision in found.items():
                if precision is None:
                    log.warning("Missing true_pos for label: %d", label)
                elif self.by_class:
                    log.info(log.CLASS_OUTPUT, label, precision)
            log.info(log.TEST_OUTPUT, number, name, self.mean_of(found), "")

    def figures(self) -> dict[str, float]:
        """The mAP of each output, by name."""
        return {name: self.mean_of(self.average_precisions(name)) for name in self.rows}

    @staticmethod
    def mean_of(found: dict[int, float | None]) -> float:
        """mAP of the average precisions of classes."""
        return sum(ap or 0 for ap in found.values()) / max(1, len(found))

    def average_precisions(self, name: str) -> dict[int, float | None]:
        """AP of each class, of the rows of the output `name`; None where nothing was detected"""
        rows = np.concatenate(self.rows[name])
        counts, found = rows[rows[:, 0] == -1], rows[rows[:, 0] != -1]
        found = found[found[:, 3:].any(1)]      # others hit a difficult object
        return {label: self._of_class(found[found[:, 1] == label],
                                      counts[counts[:, 1] == label, 2].sum())
                for label in np.unique(counts[:, 1]).astype(int).tolist()}

    def _of_class(self, rows: np.ndarray, objects: float) -> float | None:
        if not len(rows) or not objects:
            return 0.0 if len(rows) else None
        hits, misses = rows[np.argsort(-rows[:, 2], kind="stable"), 3:].T.cumsum(1)
        return self.average_precision(hits / (hits + misses), np.float32(hits / objects))


@AP_VERSIONS.register("Integral")
def _integral(precision: np.ndarray, recall: np.ndarray) -> float:
    """The area under the curve as it is."""
    steps = np.diff(recall, prepend=np.float32(0))
    return float((precision * steps)[steps > LEAST_STEP].sum())


@AP_VERSIONS.register("MaxIntegral")
def _max_integral(precision: np.ndarray, recall: np.ndarray) -> float:
    """The area under the largest precision at that recall or a higher one (VOC 2010, ILSVRC)."""
    return _integral(np.maximum.accumulate(precision[::-1])[::-1], recall)


@AP_VERSIONS.register("11point")
def _eleven_points(precision: np.ndarray, recall: np.ndarray) -> float:
    """The mean over recalls of 0, 0.1 ... 1 of the largest precision there or higher (VOC 2007)."""
    points = [precision[recall.astype(np.float64) >= i / 10] for i in range(11)]
    return sum(float(p.max(initial=0)) for p in points) / 11

