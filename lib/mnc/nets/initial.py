"""Initial weights of a net out of a release for torch: of each net the one that fits it.

mnc.commands.make_init alone asks; what weights a net starts from is this room's.
"""

from __future__ import annotations

from pathlib import Path

from caffe.extend import (
    PROTOBUF_LIMIT,
    WeightsError,
    atomic_path,
    import_net,
    read_caffemodel,
)
from mnc.nets.command import NetError
from mnc.nets.mask_init import double_head

# The release of each net: where it is had, and the net that it must be.
RELEASES = {
    "VGG16": ("torchvision:vgg16", "VGG16"),
    "ResNet50v1.5": ("torchvision:resnet50", "ResNet50"),
    "ResNet101v1.5": ("torchvision:resnet101", "ResNet101"),
    "Lite0": ("lite0", "EfficientNet-Lite0"),
}


def make_init(net: str, output: str | Path, source: str | None = None) -> str:
    """Write the weights that `net` starts from, its RoI layers also for the masked path.

    source: as caffe.extend.import_net takes it; None: where the release is usually had. Returns
    what the pixels must be. Raises NetError for a net without a release or a source of another net,
    WeightsError where a source cannot be read or the weights exceed protobuf's 2 GB.
    """
    if net not in RELEASES:
        raise NetError(f"no release for {net}; there are some for {', '.join(RELEASES)}")
    usual, wanted = RELEASES[net]
    written = import_net(source or usual)
    found = written.message.name
    if found != wanted:
        raise NetError(f"{source or usual}: this is {found}; {net} starts from {wanted}")
    double_head(written.message)
    if written.message.ByteSize() > PROTOBUF_LIMIT:
        raise WeightsError(f"{output}: the weights would exceed protobuf's 2 GB")
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(output) as temporary:
        Path(temporary).write_bytes(written.message.SerializeToString())
    return written.comments[0]


def pixel_means(weights: str | Path) -> list[float] | None:
    """The means (B, G, R) that a .caffemodel says its pixels must have subtracted, if it does."""
    try:
        layers = read_caffemodel(weights).layer
    except WeightsError:                # HDF5; loading it tells what is wrong otherwise
        return None
    means = next((list(layer.transform_param.mean_value) for layer in layers
                  if layer.transform_param.mean_value), [])
    return [round(mean, 4) for mean in means] if len(means) == 3 else None
