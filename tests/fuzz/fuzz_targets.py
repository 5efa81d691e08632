"""What is fuzzed: every reader of a file that may come from somebody else.

A target has inputs to begin with (made here, small), ways to change them, and `run(path)`, which reads
one input. Besides these, corpus.zip holds inputs that once broke something, named TARGET_*.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import h5py
import numpy as np
import scipy.io
from PIL import Image
from pycocotools import mask as coco_mask

import caffe
from caffe.commands.parse_log import parse_log
from caffe.data.blob_file import read_blob
from caffe.data.images import decode_image, parse_datum
from caffe.data.label_map import read_label_map
from caffe.data.lists import FileList
from caffe.data.lmdb_file import LmdbFile
from caffe.data.windows import read_window_file
from caffe.engine.formats.prototxt import read_message, read_net, read_solver
from caffe.engine.formats.seal import SIZE as SEAL
from caffe.layer_types.data import read_hdf5
from caffe.proto import caffe_pb2
from fuzz_inputs import Mutation, archive, chunks, fields, havoc, structure, text
from mnc.config import cfg, cfg_from_file
from mnc.data import mcg, sbd, voc
from mnc.data.coco import COCO
from mnc.data.lists import read_list
from mnc.evaluation.figures import figures_of
from mnc.results import saved

Seeds = Callable[[], list[bytes]]


@dataclass(frozen=True)
class Target:
    """`suffix`: of the files; `share`: of the time, relative to others."""

    run: Callable[[Path], object]
    seeds: Seeds
    mutations: Sequence[Mutation] = (havoc,)
    suffix: str = ".bin"
    share: float = 1.0


TARGETS: dict[str, Target] = {}


def target(name: str, seeds: Seeds, *mutations: Mutation, suffix: str = ".bin",
           share: float = 1.0) -> Callable[[Callable[[Path], object]], Callable[[Path], object]]:
    def register(run: Callable[[Path], object]) -> Callable[[Path], object]:
        TARGETS[name] = Target(run, seeds, mutations or (havoc,), suffix, share)
        return run
    return register


NET = """name: "t" input: "data" input_shape { dim: 1 dim: 3 dim: 12 dim: 12 }
layer { name: "c" type: "Convolution" bottom: "data" top: "c" param { lr_mult: 1 }
  convolution_param { num_output: 4 kernel_size: 3 stride: 1 pad: 1 group: 1 dilation: 1
    weight_filler { type: "xavier" } } }
layer { name: "p" type: "Pooling" bottom: "c" top: "p" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "l" type: "LRN" bottom: "p" top: "l" lrn_param { local_size: 3 } }
layer { name: "i" type: "InnerProduct" bottom: "l" top: "i" inner_product_param { num_output: 5 axis: 1 } }
layer { name: "s" type: "Softmax" bottom: "i" top: "s" softmax_param { axis: 1 } }
"""
SMALL = """layer { name: "in" type: "DummyData" top: "x" dummy_data_param { shape { dim: 2 dim: 3 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 4 } }
layer { name: "bn" type: "BatchNorm" bottom: "ip" top: "bn" }
layer { name: "loss" type: "EuclideanLoss" bottom: "bn" bottom: "ip" top: "loss" }
"""
SOLVER = 'base_lr: 0.1 lr_policy: "step" gamma: 0.5 stepsize: 2 momentum: 0.9 max_iter: 4 display: 0 '


@cache
def folder() -> Path:
    path = Path(tempfile.mkdtemp(prefix="fuzz"))
    own = os.getpid()
    atexit.register(lambda: os.getpid() == own and shutil.rmtree(path, ignore_errors=True))
    return path


@cache
def small_net() -> caffe.Net:
    return caffe.Net(SMALL, caffe.TEST)


@cache
def small_solver() -> object:
    prefix = folder() / "small"
    return caffe.get_solver(f'{SOLVER} snapshot_prefix: "{prefix}" train_net_param {{ {SMALL} }}')


@cache
def scenes() -> COCO:
    """Two images of 20 x 30 pixels, two classes."""
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(folder() / name), np.zeros((20, 30, 3), np.uint8))
    (folder() / "truth.json").write_bytes(coco_seeds()[0])
    return COCO(folder() / "truth.json", folder())


# --- nets and their weights ----------------------------------------------------------------------

def random_nets(count: int = 60) -> list[bytes]:
    """NET's input, then a layer of any type with a few of its options."""
    rng, nets = random.Random(1), []
    types = [kind for kind in caffe.layer_type_list() if "Data" not in kind and "Output" not in kind
             and kind != "Python"]
    options = [field for field in caffe_pb2.LayerParameter.DESCRIPTOR.fields
               if field.name.endswith("_param") and field.message_type]
    for kind in types:
        layer = caffe_pb2.LayerParameter(name="x", type=kind, top=["x"])
        layer.bottom.extend(rng.choice((["data"], ["data", "data"])))
        own = [f for f in options if f.name.replace("_", "").lower() == f"{kind.lower()}param"]
        for field in own:
            message = getattr(layer, field.name)
            for option in message.DESCRIPTOR.fields:
                if option.cpp_type in (option.CPPTYPE_INT32, option.CPPTYPE_UINT32) \
                        and option.label != option.LABEL_REPEATED:
                    setattr(message, option.name, rng.randrange(1, 4))
        nets.append(f"{NET.splitlines()[0]}\nlayer {{ {layer} }}\n".encode())
    return [NET.encode(), *nets[:count]]


@target("prototxt", random_nets, text, text, havoc, suffix=".prototxt", share=2)
def prototxt(path: Path) -> None:
    read_net(path)


@target("solver", lambda: [f'net: "n.prototxt" {SOLVER}'.encode(), b"solver_type: ADAM test_iter: 3"],
        text, text, havoc, suffix=".prototxt")
def solver(path: Path) -> None:
    read_solver(path)


@target("netbuild", random_nets, text, suffix=".prototxt", share=2)
def netbuild(path: Path) -> None:
    net = caffe.Net(str(path), caffe.TEST)
    if sum(blob.data.size for blob in net.blobs.values()) < 1e5:
        net.forward()


TRAINED = SMALL.replace("\n", " ").encode()
RECURRENT = b"""name:"r" layer{name:"d" type:"DummyData" top:"x" top:"cont" dummy_data_param{shape{dim:3 dim:2 dim:4}
shape{dim:3 dim:2} data_filler{type:"gaussian" std:1} data_filler{type:"constant" value:1}}}
layer{name:"ls" type:"LSTM" bottom:"x" bottom:"cont" top:"h" recurrent_param{num_output:3
weight_filler{type:"uniform" min:-1 max:1}}} layer{name:"z" type:"Reduction" bottom:"h" top:"z" loss_weight:1}"""


@target("nettrain", lambda: [TRAINED, RECURRENT], text, suffix=".prototxt", share=2)
def nettrain(path: Path) -> None:
    net = caffe.Net(str(path), caffe.TRAIN)
    if sum(blob.data.size for blob in net.blobs.values()) < 1e5:
        net.forward()
        net.backward()


def saved_weights() -> list[bytes]:
    path = folder() / "seed.caffemodel"
    small_net().save(str(path))
    return [path.read_bytes()[SEAL:]]


@target("weights", saved_weights, havoc, fields(caffe_pb2.NetParameter), suffix=".caffemodel", share=2)
def weights(path: Path) -> None:
    small_net().copy_from(str(path))


def saved_hdf5() -> list[bytes]:
    path = folder() / "seed.caffemodel.h5"
    small_net().save_hdf5(str(path))
    return [path.read_bytes()]


@target("h5weights", saved_hdf5, suffix=".caffemodel.h5", share=2)
def h5weights(path: Path) -> None:
    small_net().copy_from(str(path))


def saved_state(kind: str) -> list[bytes]:
    own = small_solver()
    own.param.snapshot_format = getattr(caffe_pb2.SolverParameter, kind)
    own.step(1)
    own.snapshot()
    files = sorted(folder().glob("small_iter_*.solverstate*"))
    content = [file.read_bytes() for file in files
               if file.name.endswith(".h5") == (kind == "HDF5")][-1]
    return [content if kind == "HDF5" else content[SEAL:]]


@target("restore", lambda: saved_state("BINARYPROTO"), havoc, fields(caffe_pb2.SolverState),
        suffix=".solverstate", share=2)
def restore(path: Path) -> None:
    small_solver().restore(str(path))


@target("state", lambda: saved_state("HDF5"), suffix=".solverstate.h5", share=2)
def state(path: Path) -> None:
    small_solver().restore(str(path))


@cache
def recurrent_layer() -> object:
    net = caffe.Net(RECURRENT.decode(), caffe.TEST)
    net.forward()
    return net.layers[1]


@target("recur", lambda: [recurrent_layer().snapshot_state()], archive, archive, havoc)
def recur(path: Path) -> None:
    recurrent_layer().restore_state(path.read_bytes())


# --- what data layers read -------------------------------------------------------------------------

def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


PIXELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)


def datums() -> list[bytes]:
    plain = caffe.io.array_to_datum(PIXELS, 3)
    floats = caffe.io.array_to_datum(PIXELS.astype(float), 3)
    encoded = caffe_pb2.Datum(data=png(PIXELS), encoded=True, label=2)
    return [message.SerializeToString() for message in (plain, floats, encoded)]


@target("datum", datums, havoc, fields(caffe_pb2.Datum), share=2)
def datum(path: Path) -> None:
    parse_datum(path.read_bytes(), str(path))


def means() -> list[bytes]:
    return [caffe.io.array_to_blobproto(np.ones((1, 3, 4, 5))).SerializeToString()]


@target("mean", means, havoc, fields(caffe_pb2.BlobProto), suffix=".binaryproto")
def mean(path: Path) -> None:
    read_blob(path)


def images() -> list[bytes]:
    files = [png(PIXELS), png(PIXELS[..., 0]), cv2.imencode(".jpg", PIXELS)[1].tobytes()]
    for mode, kind in (("P", "GIF"), ("CMYK", "JPEG"), ("LA", "PNG"), ("RGB", "TIFF"), ("L", "BMP")):
        out = io.BytesIO()
        Image.fromarray(PIXELS).convert(mode if mode != "LA" else "L").convert(mode).save(out, kind)
        files.append(out.getvalue())
    return files


@target("image", images, havoc, chunks, suffix=".png")
def image(path: Path) -> None:
    decode_image(path.read_bytes(), str(path))


@target("load_image", images, havoc, chunks, suffix=".png")
def load_image(path: Path) -> None:
    caffe.io.load_image(str(path))


def databases() -> list[bytes]:
    import lmdb

    with lmdb.open(str(folder() / "lmdb"), map_size=1 << 20) as env, env.begin(write=True) as txn:
        for k in range(3):
            txn.put(b"%08d" % k, datums()[k])
        txn.put(b"long", bytes(5000))
    return [(folder() / "lmdb/data.mdb").read_bytes()[:12 * 4096]]


@target("lmdb", databases, havoc)
def database(path: Path) -> None:
    place = folder() / "read_lmdb"
    place.mkdir(exist_ok=True)
    (place / "data.mdb").write_bytes(path.read_bytes())
    for _ in LmdbFile(place).values():
        pass


def hdf5_sets() -> list[bytes]:
    out = io.BytesIO()
    with h5py.File(out, "w", libver="earliest") as file:
        file["data"] = np.ones((4, 3), np.float32)
        file["label"] = np.arange(4.0)
    return [out.getvalue()]


@target("hdf5data", hdf5_sets, suffix=".h5", share=2)
def hdf5data(path: Path) -> None:
    read_hdf5(str(path), ["data", "label"])


@target("imagelist", lambda: [b"a.png 1\nb/c d.jpg 22\n\n"], text, havoc, suffix=".txt")
def imagelist(path: Path) -> None:
    files = FileList(path, "/root")
    for name, _ in files.labelled():
        files.path(name)


@target("windows", lambda: [b"# 0\na.png\n3\n20\n30\n2\n1 0.7 0 1 9 9\n0 0.2 3 3 8 8\n"], text, havoc,
        suffix=".txt")
def windows(path: Path) -> None:
    read_window_file(str(path))


@target("labelmap", lambda: [b'item { name: "cat" label: 1 display_name: "Cat" } item { name: "b" label: 2 }'],
        text, havoc, suffix=".prototxt")
def labelmap(path: Path) -> None:
    read_label_map(str(path))


LOG = b"".join(b"I0722 12:00:0%d.000000  4711 solver.cpp:218] %s\n" % (i, line) for i, line in enumerate((
    b"Solving net", b"Iteration 0, Testing net (#0)", b"    Test net output #0: accuracy = 0.1",
    b"Iteration 0, loss = 2.30", b"    Train net output #0: loss = 2.30 (* 1 = 2.30 loss)",
    b"Iteration 0, lr = 0.01", b"Iteration 10 (5 iter/s, 2s/10 iters), loss = 2.1e+00")))


@target("log", lambda: [LOG, LOG.replace(b"I0722", b"I20220722")], text, havoc, suffix=".log")
def log(path: Path) -> None:
    parse_log(path)


@target("message", lambda: [b'name: "a" solver_mode: GPU'], text, havoc, suffix=".prototxt")
def message(path: Path) -> None:
    read_message(path, caffe_pb2.NetParameter())


# --- data sets, results, settings -------------------------------------------------------------------

def coded() -> dict[str, object]:
    """A mask of 20 x 30 pixels, as COCO compresses it."""
    code = coco_mask.encode(np.asfortranarray(np.eye(20, 30, dtype=np.uint8)))
    return {"size": [20, 30], "counts": code["counts"].decode()}


def coco_seeds() -> list[bytes]:
    shape = {"size": [20, 30], "counts": [100, 50, 450]}
    boxes = [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9, 1, 9]],
              "bbox": [1, 1, 8, 8], "area": 64, "iscrowd": 0},
             {"id": 2, "image_id": 2, "category_id": 3, "segmentation": shape,
              "bbox": [5, 0, 3, 20], "area": 50, "iscrowd": 1},
             {"id": 3, "image_id": 2, "category_id": 3, "bbox": [5, 0, 3, 20], "iscrowd": 0,
              "segmentation": coded()}]
    images = [{"id": k, "file_name": f"{name}.png", "height": 20, "width": 30}
              for k, name in ((1, "a"), (2, "b"))]
    categories = [{"id": 1, "name": "x"}, {"id": 3, "name": "y"}]
    return [json.dumps({"images": images, "categories": categories, "annotations": boxes}).encode()]


@target("coco", coco_seeds, structure, structure, text, havoc, suffix=".json", share=3)
def coco(path: Path) -> None:
    dataset = COCO(path, folder())
    for i in range(min(len(dataset), 4)):
        for mask in dataset.annotation(i).mask_list:
            np.asarray(mask).sum()


def coco_results() -> list[bytes]:
    return [json.dumps([
        {"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": coded()},
        {"image_id": 2, "category_id": 3, "score": 0.25,
         "segmentation": {"size": [20, 30], "counts": [100, 50, 450]}},
        {"image_id": 2, "category_id": 1, "score": 0.2, "bbox": [1, 1, 5, 5],
         "segmentation": [[1, 1, 9, 1, 9, 9, 1, 9]]}]).encode(),
        b'[{"image_id": 1, "category_id": 1, "score": 0.5, "bbox": [1, 1, 5, 5]}]']


@target("cocores", coco_results, structure, structure, text, havoc, suffix=".json", share=2)
def cocores(path: Path) -> None:
    found = saved.load(path, scenes())
    figures_of(found, scenes(), 0.4, ("voc",))


def archives() -> list[bytes]:
    from mnc.results.detections import save_detections

    masks = np.full((1, 1, 5, 5), 0.7, np.float32)
    boxes = np.array([[1, 2, 8, 9, 0.5]], np.float32)
    found = [[(boxes, masks), (boxes[:0], masks[:0])] for _ in range(len(scenes().classes))]
    save_detections(folder() / "seed.npz", scenes(), found)
    return [(folder() / "seed.npz").read_bytes()]


@target("npz", archives, archive, archive, havoc, suffix=".npz")
def npz(path: Path) -> None:
    saved.load(path, scenes())


def mat(**arrays: object) -> bytes:
    out = io.BytesIO()
    scipy.io.savemat(out, arrays)
    return out.getvalue()


def regions() -> list[bytes]:
    ones = np.ones((2, 1))
    cells = np.empty((2, 1), object)
    cells[:, 0] = [np.array([[0, 1]]), np.array([[1]])]
    return [mat(boxes=np.array([[1.0, 1, 5, 5], [2, 2, 6, 6]]), masks=np.ones((2, 3, 3)),
                mask_targets=np.ones((2, 3, 3)), det_overlap=ones, seg_overlap=ones,
                output_label=ones, gt_assignment=ones * 0, Flip=np.array([[0]])),
            mat(superpixels=np.array([[0, 0, 1], [0, 1, 1]]), labels=cells)]


SETTINGS = mcg.Settings(3, -1, 0.4)


@target("mcgmat", regions, suffix=".mat", share=2)
def mcgmat(path: Path) -> None:
    for read in (mcg.load_regions, lambda path: mcg.raw_regions(path, SETTINGS)):
        try:
            read(path)
        except ValueError as error:
            last = error
    if "last" in locals():
        raise last


def outlines() -> list[bytes]:
    (folder() / "sbd").mkdir(exist_ok=True)
    sbd.write_sample(folder() / "sbd", "x", np.zeros((6, 7, 3), np.uint8),
                     np.array([[0, 1, 1, 2, 2, 0, 0]] * 6), np.array([3, 5]), 6)
    return [(folder() / "sbd/inst/x.mat").read_bytes()]


@target("sbdmat", outlines, suffix=".mat", share=2)
def sbdmat(path: Path) -> None:
    sbd.read_instances(path)


@target("cfg", lambda: [b"EXP_DIR: mnc_5stage\nTRAIN:\n  SCALES: [600]\n  BBOX_REG: True\nTEST:\n  NMS: 0.3\n",
                        b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"], text, havoc, suffix=".yml")
def settings(path: Path) -> None:
    before = {key: dict(value) if isinstance(value, dict) else value for key, value in cfg.items()}
    try:
        cfg_from_file(path)
    finally:
        for key, value in before.items():
            if isinstance(value, dict):
                cfg[key].update(value)
            else:
                cfg[key] = value


@target("vocmap", lambda: [png(np.arange(30, dtype=np.uint8).reshape(5, 6)), images()[3]], chunks, havoc,
        suffix=".png")
def vocmap(path: Path) -> None:
    voc._read_map(path)


BOXES = b"""<annotation><size><width>30</width><height>20</height><depth>3</depth></size>
<object><name>x</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax>
<ymax>8</ymax></bndbox></object></annotation>"""


@cache
def voc_folder() -> Path:
    place = folder() / "voc"
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (place / name).mkdir(parents=True)
    (place / "JPEGImages/a.jpg").write_bytes(cv2.imencode(".jpg", np.zeros((20, 30, 3), np.uint8))[1].tobytes())
    (place / "ImageSets/Main/train.txt").write_text("a\n")
    (place / "classes.txt").write_text("x\ny\n")
    return place


@target("vocxml", lambda: [BOXES, b'<?xml version="1.0" encoding="gbk"?>' + BOXES], text, text, havoc,
        suffix=".xml")
def vocxml(path: Path) -> None:
    (voc_folder() / "Annotations/a.xml").write_bytes(path.read_bytes())
    voc.VOC(voc_folder(), "train", masks=False).annotation(0)


@target("list", lambda: [b"a\nb 1\n", "ä\n".encode("utf-16")], text, havoc, suffix=".txt")
def names(path: Path) -> None:
    read_list(path, lambda name: len(name) < 2)
