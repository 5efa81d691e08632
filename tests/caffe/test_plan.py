"""Optimised nets: the same outputs, from fewer steps that keep nothing else."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch

import caffe
from caffe import ops
from caffe.engine.formats.prototxt import read_net
from caffe.engine.layer import LAYERS, TorchLayer, exactly
from caffe.engine.net.net import Net
from caffe.engine.net.products import Product
from caffe.engine.synced import Head
from cases import CASES
from test_layer_contract import prototxt

INPUT = """layer { name: "in" type: "Input" top: "x"
    input_param { shape { dim: 2 dim: 3 dim: 8 dim: 10 } } }"""


def conv(name, bottom, top, outputs=4, bias="true"):
    return f'''layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{top}"
        convolution_param {{ num_output: {outputs} kernel_size: 3 pad: 1 bias_term: {bias}
                             weight_filler {{ type: "gaussian" std: 0.3 }}
                             bias_filler {{ type: "gaussian" std: 0.3 }} }} }}'''


def layer(kind, bottom, top, options=""):
    bottoms = " ".join(f'bottom: "{b}"' for b in bottom.split())
    return f'layer {{ name: "{kind}_{top}" type: "{kind}" {bottoms} top: "{top}" {options} }}'


DOUBLING = f'python_param {{ module: "{__name__}" layer: "Doubling" }}'
BRANCHES = (
    INPUT, conv("c1", "x", "a"), layer("ReLU", "a", "a"), layer("Dropout", "a", "a"),
    conv("c2", "a", "b"), layer("ReLU", "b", "b_pos"), layer("Sigmoid", "a", "s"),
    layer("Eltwise", "b b_pos s", "e"), layer("Reshape", "e", "r",
                                              "reshape_param { shape { dim: 0 dim: -1 } }"),
    layer("InnerProduct", "r", "out",
          'inner_product_param { num_output: 3 weight_filler { type: "xavier" } }'),
    layer("Softmax", "out", "prob"), layer("TanH", "s", "side"))


def nets(*layers, count=2, phase=caffe.TEST, **options):
    """That many nets of the same weights."""
    made = []
    for _ in range(count):
        caffe.set_random_seed(4)
        made.append(Net.from_proto(read_net("\n".join(layers)), phase, **options))
    return made


def data(*shape, seed=0):
    return np.random.RandomState(seed).randn(*shape).astype(np.float32)


def assert_same_outputs(plain, fast, **inputs):
    expected, found = plain.forward(**inputs), fast.forward(**inputs)
    assert found
    for name, value in found.items():
        want = expected[name] if name in expected else plain.blobs[name].data
        assert np.abs(want).max() > 0
        np.testing.assert_allclose(value, want, rtol=1e-4, atol=1e-5)


def test_branches_in_place_layers_and_aliases_give_the_same_outputs():
    plain, fast = nets(*BRANCHES)
    fast.optimize()
    for seed in (0, 1):
        assert_same_outputs(plain, fast, x=data(2, 3, 8, 10, seed=seed))


def test_inner_blobs_can_be_asked_for():
    plain, fast = nets(*BRANCHES)
    fast.optimize(["b", "b_pos", "a", "e"])
    assert_same_outputs(plain, fast, x=data(2, 3, 8, 10))


def test_a_blob_that_is_not_kept_says_so_and_has_its_shape():
    net, = nets(*BRANCHES, count=1)
    net.optimize(["prob"])
    net.forward()
    with pytest.raises(caffe.CaffeError, match=r"did not keep this blob.*optimize\(outputs="):
        net.blobs["a"].data
    assert net.blobs["a"].shape == (2, 4, 8, 10)
    assert net.blobs["x"].data.shape == (2, 3, 8, 10)


def test_other_outputs_may_be_asked_for_later():
    plain, fast = nets(*BRANCHES, layer("Python", "s", "twice", DOUBLING))
    for outputs in (["prob"], ["b", "twice"], ["prob"]):
        fast.optimize(outputs)
        assert_same_outputs(plain, fast, x=data(2, 3, 8, 10))


@pytest.mark.parametrize("outputs", [["other"], ["a"], ["b"]])
def test_a_layer_in_place_changes_what_shares_its_memory(outputs):
    plain, fast = nets(INPUT, layer("TanH", "x", "a"),
                       layer("Reshape", "a", "r", "reshape_param { shape { dim: 0 dim: -1 } }"),
                       layer("ReLU", "r", "r"), layer("Power", "a", "b"),
                       layer("Sigmoid", "a", "other"), layer("Sigmoid", "r", "side"))
    fast.optimize(outputs)
    assert_same_outputs(plain, fast, x=data(2, 3, 8, 10))


def test_what_passes_through_a_layer_is_not_the_memory_of_an_input():
    plain, fast = nets(INPUT, layer("Split", "x", "v"), layer("Dropout", "x", "kept"),
                       layer("Power", "v", "v", "power_param { scale: 3 }"))
    fast.optimize(["v", "kept"])
    for images in (2, 4):
        for net in (plain, fast):
            net.blobs["x"].reshape(images, 3, 8, 10)
        assert_same_outputs(plain, fast, x=data(images, 3, 8, 10))


def test_layers_that_lead_to_no_output_do_not_run():
    net, = nets(*BRANCHES, count=1)
    net.optimize(["prob"])
    ran = []
    net.before_forward(lambda i: ran.append(net.layers[i].name))
    net.forward()
    assert "TanH_side" not in ran and "Softmax_prob" in ran
    assert list(net.forward()) == net.outputs == ["prob"]


def test_the_size_of_the_input_may_change():
    layers = (*BRANCHES[:4], layer("Pooling", "a", "p", "pooling_param { kernel_size: 2 }"))
    plain, fast = nets(*layers)
    fast.optimize()
    for shape in ((2, 3, 8, 10), (1, 3, 5, 4)):
        for net in (plain, fast):
            net.blobs["x"].reshape(*shape)
        assert_same_outputs(plain, fast, x=data(*shape))


@pytest.mark.parametrize("bias", ("true", "false"))
def test_normalisation_is_folded_into_the_convolution(bias):
    layers = (INPUT, conv("c", "x", "y", bias=bias), layer("BatchNorm", "y", "y"),
              layer("Scale", "y", "y", "scale_param { bias_term: true }"), layer("ReLU", "y", "y"))
    plain, fast = nets(*layers)
    for net in (plain, fast):
        rng = np.random.RandomState(1)
        for name in ("BatchNorm_y", "Scale_y"):
            for blob in net.params[name]:
                blob.data[...] = rng.uniform(0.5, 2, blob.shape)
    fast.optimize()
    ran = []
    fast.before_forward(ran.append)
    assert_same_outputs(plain, fast, x=data(2, 3, 8, 10))
    assert ran == [0, 1]


def test_normalisation_by_the_batch_still_gathers_statistics():
    layers = (INPUT, conv("c", "x", "y"),
              layer("BatchNorm", "y", "y", "batch_norm_param { use_global_stats: false }"))
    plain, fast = nets(*layers)
    fast.optimize()
    assert_same_outputs(plain, fast, x=data(2, 3, 8, 10))
    np.testing.assert_allclose(fast.params["BatchNorm_y"][0].data,
                               plain.params["BatchNorm_y"][0].data, rtol=1e-5)


WARP = (INPUT, """layer { name: "r" type: "Input" top: "rois"
    input_param { shape { dim: 2 dim: 5 } } }""",
        layer("ROIWarping", "x rois", "warped", "roi_warping_param { pooled_w: 6 pooled_h: 4 }"),
        layer("Pooling", "warped", "pooled", "pooling_param { kernel_size: 2 stride: 2 }"))
ROIS = np.array([[0, 1, 1, 7, 6], [1, 0, 2, 9, 7]], np.float32)


def test_warping_and_pooling_are_one_step(monkeypatch):
    plain, fast = nets(*WARP)
    fast.optimize()
    expected = plain.forward(x=data(2, 3, 8, 10), rois=ROIS)["pooled"].copy()
    monkeypatch.setattr(ops, "roi_warping", None)       # the whole warped map is not asked for
    found = fast.forward(x=data(2, 3, 8, 10), rois=ROIS)["pooled"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_warped_map_that_is_wanted_is_made():
    plain, fast = nets(*WARP)
    fast.optimize(["warped", "pooled"])
    assert_same_outputs(plain, fast, x=data(2, 3, 8, 10), rois=ROIS)


def test_weights_loaded_later_count(tmp_path):
    layers = (INPUT, conv("c", "x", "y"), layer("BatchNorm", "y", "y"))
    plain, fast = nets(*layers)
    fast.optimize()
    fast.forward()
    for blob, value in zip(plain.params["c"], (0.5, 2)):
        blob.data[...] = value
    plain.params["BatchNorm_y"][0].data[...] = 3
    plain.params["BatchNorm_y"][1].data[...] = 4
    plain.params["BatchNorm_y"][2].data[...] = 1
    plain.save_hdf5(str(tmp_path / "w.h5"))
    fast.copy_from(str(tmp_path / "w.h5"))
    assert_same_outputs(plain, fast, x=data(2, 3, 8, 10))


class Doubling(caffe.Layer):
    """Reads and writes numpy, as users' layers do."""

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = 2 * bottom[0].data


def test_python_layers_see_their_bottoms():
    layers = (INPUT, conv("c", "x", "y"), layer("ReLU", "y", "y"),
              layer("Python", "y", "z", DOUBLING),
              layer("TanH", "z", "out"))
    plain, fast = nets(*layers)
    fast.optimize()
    for seed in (0, 1):
        assert_same_outputs(plain, fast, x=data(2, 3, 8, 10, seed=seed))


def test_views_of_kept_blobs_stay_live():
    net, = nets(*BRANCHES, count=1)
    net.optimize(["prob"])
    view = net.forward(x=data(2, 3, 8, 10))["prob"]
    before = view.copy()
    net.forward(x=data(2, 3, 8, 10, seed=7))
    assert np.abs(view - before).max() > 0
    assert np.shares_memory(view, net.blobs["prob"].data)


def test_loss_is_still_given():
    layers = (INPUT, layer("Reduction", "x", "loss", "loss_weight: 2"), layer("TanH", "x", "t"))
    plain, fast = nets(*layers)
    fast.optimize(["t"])
    for net in (plain, fast):
        net.blobs["x"].data[...] = 1
    assert fast.run() == plain.run() != 0


def test_a_loss_without_a_name_is_given_too():
    plain, fast = nets(INPUT, layer("TanH", "x", "t"),
                       'layer { name: "e" type: "EuclideanLoss" bottom: "x" bottom: "t" }')
    fast.optimize(["t"])
    for net in (plain, fast):
        net.blobs["x"].data[...] = 1
    assert fast.run() == plain.run() != 0


def test_what_an_optimised_net_cannot_do_is_said():
    net, trained = *nets(*BRANCHES, count=1), *nets(*BRANCHES, count=1, phase=caffe.TRAIN)
    with pytest.raises(KeyError, match='no blob "probb".*"prob"'):
        net.optimize(["probb"])
    with pytest.raises(caffe.CaffeError, match="phase TEST"):
        trained.optimize()
    net.optimize()
    with pytest.raises(caffe.CaffeError, match="as a whole"):
        net.forward(end="c2")
    net.forward()
    with pytest.raises(caffe.CaffeError, match="keeps nothing for backward"):
        net.backward()


def test_errors_name_the_layer():
    net, = nets(*BRANCHES, count=1)
    net.optimize()
    net.blobs["x"].reshape(2, 4, 8, 10)
    with pytest.raises(caffe.CaffeError, match='"c1"'):
        net.forward()


def test_float64_stays_float64():
    net, = nets(*BRANCHES, count=1, dtype="float64")
    net.optimize(["prob"])
    assert net.forward()["prob"].dtype == np.float64
    assert net.blobs["prob"].tensor.dtype == torch.float64


def test_products_may_be_in_bfloat16():
    plain, fast = nets(*BRANCHES)
    fast.optimize(["a", "prob"], precision="bfloat16")
    x = data(2, 3, 8, 10)
    plain.forward(x=x)
    found = fast.forward(x=x)
    exact, coarse = plain.blobs["a"].data, found["a"]
    assert found["prob"].dtype == np.float32 and np.abs(exact - coarse).max() > 0
    np.testing.assert_allclose(coarse, exact, rtol=0.03, atol=0.03)
    np.testing.assert_allclose(found["prob"].sum(1), 1, rtol=1e-6)
    with pytest.raises(caffe.CaffeError, match="bfloat16"):
        fast.optimize(precision="int4")


@pytest.mark.parametrize("pool, tolerance", [("AVE", 0.02), ("MAX", 0)])
def test_pooling_counts_exactly_when_products_lose_precision(pool, tolerance):
    """Places beyond 256 are no numbers of bfloat16."""
    wide = INPUT.replace("dim: 8 dim: 10", "dim: 2 dim: 600")
    top = 'top: "place"' * (pool == "MAX")
    plain, fast = nets(wide, conv("c", "x", "f"),
                       layer("Pooling", "f", "p", f"{top} pooling_param {{ pool: {pool} "
                                                  "kernel_size: 3 stride: 3 pad: 1 }"))
    fast.optimize(precision="bfloat16")
    x = np.zeros((2, 3, 2, 600), np.float32)
    x[..., ::7] = 1 + np.arange(86)
    name = fast.outputs[-1]
    exact, coarse = (net.forward(x=x)[name] for net in (plain, fast))
    assert np.abs(exact - coarse).max() <= tolerance * np.abs(exact).max()


MASKED = (INPUT, conv("c", "x", "f"), """layer { name: "m" type: "Input" top: "mask"
    input_param { shape { dim: 2 dim: 1 dim: 8 dim: 10 } } }""",
          layer("MaskPooling", "f mask", "masked"),
          layer("Pooling", "masked", "pooled", "pooling_param { kernel_size: 2 stride: 2 }"))


@pytest.mark.parametrize("height", [8, 7])      # of an odd one Caffe's last window is cut off
def test_masks_and_pooling_are_one_step(height):
    plain, fast = nets(*MASKED)
    fast.optimize()
    for net in (plain, fast):
        net.blobs["x"].reshape(2, 3, height, 10)
        net.blobs["mask"].reshape(2, 1, height, 10)
    ran = []
    fast.before_forward(lambda i: ran.append(fast.layers[i].name))
    assert_same_outputs(plain, fast, x=data(2, 3, height, 10), mask=data(2, 1, height, 10))
    assert "Pooling_pooled" not in ran


def test_maps_go_through_region_layers_in_bfloat16(monkeypatch):
    """Neither map nor RoIs are converted, and the packed product takes what they give."""
    fc = layer("InnerProduct", "pooled", "y", 'inner_product_param { num_output: 5 '
                                               'weight_filler { type: "gaussian" std: 0.1 } }')
    plain, fast = nets(INPUT, conv("c", "x", "f"), *WARP[1:2], layer(
        "ROIWarping", "f rois", "warped", "roi_warping_param { pooled_w: 6 pooled_h: 4 }"),
        WARP[3], fc)
    fast.optimize(precision="bfloat16")
    seen = []
    warp = ops.roi_warping_pooled
    monkeypatch.setattr(ops, "roi_warping_pooled",
                        lambda *given: seen.extend([*given[:2], warp(*given)]) or seen[-1])
    found, exact = (net.forward(x=data(2, 3, 8, 10), rois=ROIS)["y"] for net in (fast, plain))
    assert [x.dtype for x in seen] == [torch.bfloat16, torch.float32, torch.bfloat16]
    np.testing.assert_allclose(found, exact, rtol=0.1, atol=0.05)


def test_regions_keep_their_precision_when_products_lose_theirs():
    warp = layer("ROIWarping", "f rois", "warped",
                 "roi_warping_param { pooled_w: 6 pooled_h: 4 }")
    plain, fast = nets(INPUT, conv("c", "x", "f"), WARP[1], warp, WARP[3])
    fast.optimize(precision="bfloat16")
    for net in (plain, fast):
        net.forward(x=data(2, 3, 8, 10), rois=ROIS)
    np.testing.assert_allclose(fast.blobs["pooled"].data, plain.blobs["pooled"].data, rtol=0.05,
                               atol=0.05)


# --- every layer type --------------------------------------------------------------------------

def behind_a_convolution(kind, case):
    """The net of a case whose first bottom comes out of a convolution, or None."""
    first = case.bottoms[0] if case.bottoms else None
    if first is None or not first.differentiable or len(first.shape) != 4:
        return None
    made = f'''layer {{ name: "c" type: "Convolution" bottom: "b0" top: "c" convolution_param {{
        num_output: {first.shape[1]} kernel_size: 1 bias_term: false
        weight_filler {{ type: "gaussian" std: 0.5 }} }} }}'''
    text = prototxt(kind, case)
    at = text.index("layer {")
    return text[:at] + made + text[at:].replace("bottom: 'b0'", "bottom: 'c'")


def before_a_relu(kind, case):
    return prototxt(kind, case) + layer("ReLU", "t0", "t0") if case.tops == 1 else None


@pytest.mark.parametrize("surroundings", [prototxt, behind_a_convolution, before_a_relu])
@pytest.mark.parametrize("kind, case", [pytest.param(kind, case, id=f"{kind}-{i}")
                                        for kind, cases in sorted(CASES.items())
                                        for i, case in enumerate(cases)])
def test_every_layer_type_gives_the_same_alone_and_among_neighbours(kind, case, surroundings):
    text = surroundings(kind, case)
    if text is None or not case.tops or case.phase != "TEST":
        pytest.skip("no net for testing, or none with such neighbours")
    plain, fast = nets(text, dtype="float64")
    outputs = [name for name in plain.outputs if name[0] == "t"]
    fast.optimize(outputs)
    results = []
    for net in (plain, fast):
        random = np.random.default_rng(7)
        for blob in net.learnable_params:
            blob.data[...] = random.uniform(0.5, 2, blob.shape)
        for i, bottom in enumerate(case.bottoms):
            net.blobs[f"b{i}"].data[...] = bottom.draw(bottom.shape, random)
        caffe.set_random_seed(5)
        net.forward()
        results.append([net.blobs[name].data for name in outputs])
    assert outputs
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


class Halved(TorchLayer):
    """A user's layer that can be folded, and knows what to do at once with one of its kind."""

    num_bottom = num_top = exactly(1)
    owns_output = True

    def compute(self, x):
        return x / 2

    def as_affine(self):
        channels = 4
        return torch.full((channels,), 0.5), torch.zeros(channels)

    def fuse_with(self, following):
        return (lambda x: (x / 4,)) if isinstance(following, Halved) else None


def test_a_layer_of_a_user_takes_part(monkeypatch):
    LAYERS.register("Halved")(Halved)
    try:
        plain, fast = nets(INPUT, conv("c", "x", "y"), layer("Halved", "y", "h"),
                           layer("ReLU", "h", "h"))
        fast.optimize(["h"])
        ran = []
        fast.before_forward(ran.append)
        assert_same_outputs(plain, fast, x=data(2, 3, 8, 10))
        assert ran == [0, 1]            # convolution, factor and ReLU are one step
        plain, fast = nets(INPUT, layer("Halved", "x", "h"), layer("Halved", "h", "q"))
        fast.optimize(["q"])
        monkeypatch.setattr(Halved, "compute", None)
        found = fast.forward(x=data(2, 3, 8, 10))["q"]
        np.testing.assert_allclose(found, data(2, 3, 8, 10) / 4)
    finally:
        LAYERS.remove("Halved")


def test_sources_and_files_are_read_and_written_as_ever(tmp_path):
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["x"], file["label"] = data(6, 3, 4, 4), np.arange(6, dtype=np.float32)
    (tmp_path / "list.txt").write_text(f"{tmp_path}/rows.h5\n")

    def made(name):
        return nets(
            f"""layer {{ name: "data" type: "HDF5Data" top: "x" top: "label" hdf5_data_param {{
                source: "{tmp_path}/list.txt" batch_size: 2 }} }}""",
            conv("c", "x", "y"), layer("ReLU", "y", "y"), layer("Silence", "label", "none").replace(
                'top: "none"', ""), layer("TanH", "y", "out"),
            f"""layer {{ name: "file" type: "HDF5Output" bottom: "y" bottom: "x"
                hdf5_output_param {{ file_name: "{tmp_path}/{name}.h5" }} }}""", count=1)[0]

    plain, fast = made("plain"), made("fast")
    fast.optimize(["out"])
    for _ in range(3):
        assert_same_outputs(plain, fast)
    written = [h5py.File(tmp_path / f"{name}.h5", "r") for name in ("plain", "fast")]
    for name in ("data", "label"):
        assert len(written[0][name]) == 6
        np.testing.assert_allclose(written[0][name][()], written[1][name][()], rtol=1e-5)


def test_arrays_in_memory_feed_an_optimised_net():
    plain, fast = nets(
        """layer { name: "data" type: "MemoryData" top: "x" top: "label"
        memory_data_param { batch_size: 2 channels: 3 height: 4 width: 4 } }""",
        conv("c", "x", "y"), layer("ReLU", "y", "y"))
    fast.optimize(["y", "label"])
    for net in (plain, fast):
        net.set_input_arrays(data(4, 3, 4, 4), np.arange(4, dtype=np.float32))
    for _ in range(3):
        assert_same_outputs(plain, fast)


# --- packed weights ------------------------------------------------------------------------------

PACKED = (INPUT, conv("c1", "x", "a"), layer("ReLU", "a", "a"), conv("c2", "a", "b"),
          layer("InnerProduct", "b", "f", 'inner_product_param { num_output: 6 weight_filler { type:'
                ' "gaussian" std: 0.2 } } param { name: "w" } param { name: "v" }'),
          layer("ReLU", "f", "g", "relu_param { negative_slope: 0.1 }"),
          layer("InnerProduct", "b", "h", 'inner_product_param { num_output: 6 } param { name: "w" }'
                ' param { name: "v" }'), layer("ReLU", "h", "h"))


def test_packed_weights_are_there_once_and_shared():
    plain, fast = nets(*PACKED)
    before = {name: [blob.tensor.clone() for blob in blobs] for name, blobs in plain.params.items()}
    fast.optimize(["g", "h"])
    assert_same_outputs(plain, fast, x=data(2, 3, 8, 10))
    given_up = [blobs[0]._data.head for blobs in fast.params.values()]
    assert len(given_up) == 4 and set(given_up) == {Head.RELEASED}
    products = [step.compute for step in fast._optimized._plan.steps
                if isinstance(step.compute, Product)]
    matrices = {id(each.params[0]) for each in products if each.params[0].dim() == 2}
    assert len(matrices) == 1
    for name, blobs in fast.params.items():
        for blob, value in zip(blobs, before[name]):
            assert torch.equal(blob.tensor, value)


def test_weights_of_small_products_are_not_packed(monkeypatch):
    monkeypatch.setattr("caffe.layer_types.packed.SMALL", 1_500_000)
    plain, fast = nets("""layer { name: "x" type: "Input" top: "x"
                       input_param { shape { dim: 1 dim: 3 dim: 8 dim: 10 } } }""", *PACKED[1:])
    fast.optimize(["g", "h"])
    assert_same_outputs(plain, fast, x=data(1, 3, 8, 10))
    assert not any(step.compute.params[0].is_mkldnn for step in fast._optimized._plan.steps
                   if isinstance(step.compute, Product))
    for net in (plain, fast):       # of more images they are no longer small
        net.blobs["x"].reshape(800, 3, 8, 10)
        net.reshape()
    fast.optimize(["g"])
    fast.forward()
    packed = [step.compute.params[0].is_mkldnn for step in fast._optimized._plan.steps
              if isinstance(step.compute, Product)]
    assert packed == [True, True]


@pytest.mark.parametrize("precision", [None, "bfloat16"])
def test_weights_of_another_net_stay_where_they_are(precision):
    """A net in training goes on with the memory it has, whatever an optimised net makes of it."""
    training, test = nets(*PACKED)
    test.share_with(training)
    held = [blob.tensor for blob in training.learnable_params]
    before = [value.clone() for value in held]
    test.optimize(["g"], precision=precision)
    test.forward(x=data(2, 3, 8, 10))
    for blob, value, old in zip(training.learnable_params, held, before):
        assert blob.tensor.data_ptr() == value.data_ptr() and torch.equal(blob.tensor, old)


def test_a_weight_that_is_read_or_written_is_used_at_the_next_plan():
    plain, fast = nets(*PACKED)
    fast.optimize(["g"])
    fast.forward()
    for net in (plain, fast):
        net.params["c1"][0].data[...] *= 2
    fast.optimize(["g"])
    for _ in range(2):
        assert_same_outputs(plain, fast, x=data(2, 3, 8, 10))
    for net in (plain, fast):
        net.params["c1"][0].data[...] *= 2
    fast.optimize(["g"])
    assert_same_outputs(plain, fast, x=data(2, 3, 8, 10))


@pytest.mark.parametrize("name", ["c2", "InnerProduct_f"])
def test_weights_in_bfloat16_are_read_rounded(name):
    net, = nets(*PACKED, count=1)
    exact = net.params[name][0].tensor.clone()
    net.optimize(["g"], precision="bfloat16")
    net.forward()
    assert net.params[name][0]._data.head is Head.RELEASED
    found = net.params[name][0].tensor
    assert torch.equal(found, exact.bfloat16().float()) and not torch.equal(found, exact)


@pytest.mark.parametrize("group, spatial", [(1, "kernel_h: 3 kernel_w: 1 pad_h: 2 stride_h: 2"),
                                            (3, "kernel_size: 3 dilation: 2"),
                                            (1, "kernel_size: 1")])
def test_packed_filters_are_those_of_the_convolution(group, spatial):
    plain, fast = nets(INPUT, layer("Convolution", "x", "y", f"""convolution_param {{ num_output: 6
        group: {group} {spatial} weight_filler {{ type: "gaussian" std: 1 }} }}"""),
                       layer("ReLU", "y", "y"))
    fast.optimize()
    for images in (2, 1, 0):
        for net in (plain, fast):
            net.blobs["x"].reshape(images, 3, 8, 10)
        if images:
            assert_same_outputs(plain, fast, x=data(images, 3, 8, 10))
        else:
            assert fast.forward()["y"].shape == plain.forward()["y"].shape
