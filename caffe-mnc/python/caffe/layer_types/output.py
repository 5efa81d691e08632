"""HDF5Output: bottoms into a file."""

from __future__ import annotations

import h5py

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, Layer, exactly
from caffe.layer_types.batches import naming


@LAYERS.register("HDF5Output")
class HDF5Output(Layer):
    """Writes its bottoms as the data sets "data" and "label" of an HDF5 file, both with 4 axes

    The file is begun anew when the net is built; each forward appends its batch (Caffe's second
    forward fails).
    """

    num_bottom = exactly(2)
    num_top = exactly(0)

    def setup(self, bottom, top):
        self.path = self.param.hdf5_output_param.file_name
        if not self.path:
            raise LayerError(f"{self.title}: hdf5_output_param.file_name is missing")
        with naming(self), h5py.File(self.path, "w"):
            pass

    def reshape(self, bottom, top):
        if bottom[0].shape[:1] != bottom[1].shape[:1]:
            raise LayerError(f"{self.title}: bottoms must hold the same number of items, got "
                             f"shapes {bottom[0].shape} and {bottom[1].shape}")

    def forward(self, bottom, top):
        with naming(self), h5py.File(self.path, "a") as file:
            for name, blob in zip(("data", "label"), bottom):
                shape = blob.shape + (1,) * (4 - len(blob.shape))
                self._append(file, name, blob.tensor.cpu().numpy().reshape(shape))

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
