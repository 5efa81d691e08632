"""What fetch.py fetches: addresses, checksums, and the folders in data/ where files go."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Remote:
    """A file in the net and what becomes of it.

    urls: tried in turn; none for a file that is not public any more. into: the folder in data/ it
    is unpacked to, or, with `name`, put in under that name. checksum: "md5:..." or "sha1:...", of
    sha256 its first digits do. strip: leading parts left off the names in the archive; only: what
    they must begin with. instead: the part to fetch where this one cannot be had.
    """

    urls: tuple[str, ...]
    into: str
    checksum: str | None = None
    name: str | None = None
    strip: int = 0
    only: str = ""
    note: str = ""                      # where else to look
    instead: str = ""
    next: str = ""                      # what to do with it

    @property
    def file(self) -> str:
        return self.urls[0].rsplit("/", 1)[-1].partition("?")[0] if self.urls else self.name or ""


def _voc(year: str, file: str, md5: str) -> Remote:
    return Remote((f"http://host.robots.ox.ac.uk/pascal/VOC/voc{year}/{file}",
                   f"https://pjreddie.com/media/files/{file}"), f"VOCdevkit{year}", f"md5:{md5}",
                  strip=1)


def _coco(path: str, md5: str | None) -> Remote:
    return Remote((f"http://images.cocodataset.org/{path}",), "coco", md5 and f"md5:{md5}")


def _by_hand(into: str, name: str, note: str, instead: str = "") -> Remote:
    return Remote((), into, name=name, note=note, instead=instead)


def _of_torch(net: str, file: str) -> Remote:
    """Weights that torchvision publishes: the SHA-256 begins as the name of the file says."""
    digits = file.removesuffix(".pth").rpartition("-")[2]
    return Remote((f"https://download.pytorch.org/models/{file}",), "imagenet_models",
                  f"sha256:{digits}", name=file,
                  next=f"tools/make_init.py {net} --source data/imagenet_models/{file}")


GROUPS: dict[str, dict[str, Remote]] = {
    "voc": {
        "2007-trainval": _voc("2007", "VOCtrainval_06-Nov-2007.tar",
                              "c52e279531787c972589f7e41ab4ae64"),
        "2007-test": _voc("2007", "VOCtest_06-Nov-2007.tar", "b6e924de25625d8de591ea690078ad9f"),
        "2012-trainval": _voc("2012", "VOCtrainval_11-May-2012.tar",
                              "6cd6e144f989b92b3379bac3b3de84fd"),
    },
    "sbd_data": {
        "sbd": Remote(("http://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/"
                       "semantic_contours/benchmark.tgz",), "VOCdevkitSDS",
                      "md5:82b4d87ceb2ed10f6038a1cba92111cb", strip=2,
                      only="benchmark_RELEASE/dataset/"),
    },
    "mcg_data": {
        "mcg": Remote(("https://data.vision.ee.ethz.ch/jpont/mcg/"
                       "MCG-Pascal-Main_trainvaltest_2012-proposals.tgz",), "MCG-raw", strip=1,
                      note="https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/"
                           "mcg/"),
    },
    "coco": {
        "2014-annotations": _coco("annotations/annotations_trainval2014.zip",
                                  "0a379cfc70b0e71301e0f377548639bd"),
        "2014-train": _coco("zips/train2014.zip", "0da8c0bd3d6becc4dcb32757491aca88"),
        "2014-val": _coco("zips/val2014.zip", "a3d79f5ed8d289b7a7554ce06a5782b3"),
        "2015-test": _coco("zips/test2015.zip", None),
        "2015-test-info": _coco("annotations/image_info_test2015.zip", None),
        "2017-annotations": _coco("annotations/annotations_trainval2017.zip",
                                  "f4bbac642086de4f52a3fdda2de5fa2c"),
        "2017-train": _coco("zips/train2017.zip", "cced6f7f71b7629ddf16f17bbcfab6b2"),
        "2017-val": _coco("zips/val2017.zip", "442b8da7639aecaf257c1dceb8ba8c80"),
        "2017-test": _coco("zips/test2017.zip", None),
        "2017-test-info": _coco("annotations/image_info_test2017.zip", None),
    },
    "imagenet_models": {
        "VGG16-ZF": Remote(("http://people.eecs.berkeley.edu/~rbg/faster-rcnn-data/"
                            "imagenet_models.tgz",
                            "https://dl.dropbox.com/s/gstw7122padlf0l/imagenet_models.tgz?dl=1"),
                           "imagenet_models", "md5:ed34ca912d6782edfb673a8c3a0bda6d", strip=1,
                           instead="VGG16"),
        "VGG16": Remote(("http://www.robots.ox.ac.uk/~vgg/software/very_deep/caffe/"
                         "VGG_ILSVRC_16_layers.caffemodel",), "imagenet_models",
                        "sha1:9363e1f6d65f7dba68c4f27a1e62105cdf6c4e24",
                        name="VGG16.v2.caffemodel", instead="VGG16-torch"),
        **{f"ResNet{n}": _by_hand("imagenet_models", f"ResNet-{n}-model.caffemodel",
                                  "https://github.com/KaimingHe/deep-residual-networks",
                                  instead=f"ResNet{n}-torch")
           for n in (50, 101)},
        "VGG16-torch": _of_torch("VGG16", "vgg16-397923af.pth"),
        "ResNet50-torch": _of_torch("ResNet50v1.5", "resnet50-0676ba61.pth"),
        "ResNet101-torch": _of_torch("ResNet101v1.5", "resnet101-63fe2227.pth"),
    },
    "mnc_model": {
        "VGG16": _by_hand("mnc_model", "mnc_model.caffemodel.h5",
                          "https://github.com/daijifeng001/MNC"),
    },
}
SHORT: dict[str, dict[str, tuple[str, ...]]] = {            # "": what no PART at all stands for
    "voc": {"2007": ("2007-trainval", "2007-test"), "2012": ("2012-trainval",)},
    "coco": {year: (f"{year}-annotations", f"{year}-train", f"{year}-val")
             for year in ("2014", "2017")},
    "imagenet_models": {"": ("VGG16-ZF",)},
}
SHORT["coco"][""] = SHORT["coco"]["2014"]
NEXT = {"imagenet_models": "tools/make_mask_init.py makes the *.mask.caffemodel that cascades "
                           "start from",
        "mcg_data": "tools/prepare_mcg_maskdb.py --db train (and val) makes the files that CFM "
                    "works on"}
