"""Bottoms into files: HDF5Output, MatWrite."""

from __future__ import annotations

from pathlib import Path

import scipy.io

from caffe.engine.errors import LayerError
from caffe.engine.formats.atomic_file import atomic_path
from caffe.engine.formats.hdf5 import appending, writing
from caffe.engine.formats.paths import below_root, inside
from caffe.engine.formats.text import read_text
from caffe.engine.layer import LAYERS, Layer, at_least, exactly
from caffe.layer_types.batches import naming


@LAYERS.register("HDF5Output")
class HDF5Output(Layer):
    """Writes its bottoms as the data sets "data" and "label" of an HDF5 file, both with 4 axes

    The file is begun anew when the net is built; each forward appends its batch (Caffe's second
    forward fails). Where a batch does not fit the disk, the file keeps those before it.
    """

    num_bottom = exactly(2)
    num_top = exactly(0)

    def setup(self, bottom, top):
        self.path = self.param.hdf5_output_param.file_name
        if not self.path:
            raise LayerError(f"{self.title}: hdf5_output_param.file_name is missing")
        with naming(self), writing(self.path):
            pass

    def reshape(self, bottom, top):
        if bottom[0].shape[:1] != bottom[1].shape[:1]:
            raise LayerError(f"{self.title}: bottoms must hold the same number of items, got "
                             f"shapes {bottom[0].shape} and {bottom[1].shape}")

    def forward(self, bottom, top):
        batch = {name: blob.tensor.cpu().numpy().reshape(blob.shape + (1,) * (4 - len(blob.shape)))
                 for name, blob in zip(("data", "label"), bottom)}
        with naming(self), appending(self.path, batch) as file:
            for name, values in batch.items():
                self._append(file, name, values)

    def _append(self, file, name, values):
        if name not in file:
            file.create_dataset(name, data=values, maxshape=(None, *values.shape[1:]),
                                chunks=tuple(max(1, n) for n in values.shape))
            return
        stored = file[name]
        if stored.shape[1:] != values.shape[1:]:
            raise ValueError(f'{self.path}: "{name}" holds items of shape {stored.shape[1:]}, got '
                             f"{values.shape[1:]}")
        stored.resize(len(stored) + len(values), axis=0)
        stored[len(stored) - len(values):] = values

    def backward(self, top, propagate_down, bottom):
        pass


@LAYERS.register("MatWrite")
class MatWrite(Layer):
    """Writes bottom i as `data` (W, H, C, N) of PREFIX NAME _blob_i.mat, MATLAB's axes (DeepLab)

    NAME: the next line of `source`, up to a space and without its last `strip` characters; without
    a source iter_0, iter_1 ... Of `period` forwards the first is written. A NAME that leaves the
    folder of PREFIX is refused when the net is built.
    """

    num_bottom = at_least(1)
    num_top = exactly(0)

    def setup(self, bottom, top):
        options = self.param.mat_write_param
        if options.period < 1 or options.strip < 0:
            raise LayerError(f"{self.title}: period must be positive and strip not negative")
        self.names, self.done = None, 0
        if options.source:
            with naming(self):
                lines = read_text(options.source).split("\n")
                words = [line.split()[0] for line in lines if line.strip()]
                self.names = [word[:max(0, len(word) - options.strip)] for word in words]
                for name in self.names:
                    self._path(name, 0)

    def forward(self, bottom, top):
        options, number = self.param.mat_write_param, self.done
        self.done += 1
        if number % options.period:
            return
        if self.names is not None and number >= len(self.names):
            raise LayerError(f"{self.title}: {options.source} has {len(self.names)} lines, this is "
                             f"forward {number + 1}")
        name = f"iter_{number}" if self.names is None else self.names[number]
        for i, blob in enumerate(bottom):
            with naming(self):
                path = self._path(name, i)
                path.parent.mkdir(parents=True, exist_ok=True)
                with atomic_path(path) as temporary:
                    scipy.io.savemat(temporary, {"data": blob.tensor.cpu().numpy().T}, False)

    def _path(self, name, i):
        prefix, file = self.param.mat_write_param.prefix, f"{name}_blob_{i}.mat"
        return Path(below_root(prefix, file) if prefix else inside("", file))

    def backward(self, top, propagate_down, bottom):
        pass
