"""A net of another program as it is being written: layers in order, with their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from torch import Tensor

from caffe.engine.errors import WeightsError
from caffe.engine.formats.atomic_file import atomic_path
from caffe.engine.formats.blob_proto import to_blob_proto
from caffe.engine.formats.weights import PROTOBUF_LIMIT
from caffe.proto import caffe_pb2


class WrittenNet:
    """A NetParameter, its comments and its parameters."""

    def __init__(self, name: str, *comments: str) -> None:
        self.message = caffe_pb2.NetParameter(name=name)
        self.comments = comments

    def input(self, name: str, shape: Sequence[int], means: Sequence[float] = ()) -> str:
        """An input; means: of B, G and R, which whoever fills it has subtracted. Returns `name`."""
        said = {"mean_value": list(means)} if len(means) else None
        return self.layer(name, "Input", (), input_param={"shape": [{"dim": list(shape)}]},
                          transform_param=said)

    def layer(self, name: str, type: str, bottoms: Sequence[str], *, top: str | None = None,
              blobs: Sequence[Tensor] = (), **options: Any) -> str:
        """Append a layer of one top, by default of the layer's name; returns the top.

        blobs: its parameters, in Caffe's order and shapes; options: fields of LayerParameter.
        """
        added = self.message.layer.add(name=name, type=type, bottom=bottoms, top=[top or name],
                                       **options)
        for blob in blobs:
            added.blobs.append(to_blob_proto(blob))
        return top or name

    @property
    def text(self) -> str:
        """The prototxt: comments, then the net without its parameters."""
        bare = caffe_pb2.NetParameter(name=self.message.name)
        for layer in self.message.layer:
            added = bare.layer.add()
            added.CopyFrom(layer)
            del added.blobs[:]
        lines = "".join(f"# {line}\n" for line in self.comments)
        return lines + text_format.MessageToString(bare)

    def save(self, prefix: str | Path) -> tuple[Path, Path]:
        """Write PREFIX.prototxt and PREFIX.caffemodel, whole or not at all; returns both.

        Raises WeightsError beyond protobuf's 2 GB.
        """
        prototxt, weights = (Path(f"{prefix}.{end}") for end in ("prototxt", "caffemodel"))
        if self.message.ByteSize() > PROTOBUF_LIMIT:
            raise WeightsError(f"{weights}: the weights would exceed protobuf's 2 GB")
        prototxt.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(weights) as temporary:
            Path(temporary).write_bytes(self.message.SerializeToString())
        with atomic_path(prototxt) as temporary:
            Path(temporary).write_text(self.text, encoding="utf-8")
        return prototxt, weights
