"""Small nets in this engine beside the same layers as a torch module, channels-last.

They take turns in one run, so that ratios hold where times do not. Only mnc.commands.benchmark
asks; the measuring is this room's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import caffe
from caffe.extend import Solver, read_net
from caffe.proto import caffe_pb2
from mnc.benchmarks import small_nets
from mnc.benchmarks.machine import machine
from mnc.benchmarks.timing import take_turns

NETS: dict[str, Callable[[], str]] = {
    "LeNet, batch 1": partial(small_nets.lenet, 1),
    "MTCNN's proposals, 120 x 120": partial(small_nets.mtcnn, 1),
    "CIFAR-10 quick, batch 1": partial(small_nets.cifar10_quick, 1),
    "ResNet-20, batch 1": partial(small_nets.resnet20, 1),
    "MobileNet, 128 x 128": partial(small_nets.mobilenet, 1),
    "SSD's maps, 160 x 160": partial(small_nets.ssd, 1)}
TRAININGS = {"LeNet, training step, batch 1": 1, "LeNet, training step, batch 64": 64}
AS_TORCH, PLAIN, OPTIMISED = "torch", "net", "optimised"
CALLS = 5               # of a work, timed as one
TOLERANCE = 0.10        # by which a ratio may exceed the stored one


class Twin(nn.Module):
    """The layers of a net with its weights, in operators of torch; text: its prototxt."""

    def __init__(self, net: caffe.Net, text: str) -> None:
        super().__init__()
        self.steps = [(_function(net.layer_dict[layer.name]), list(layer.bottom), layer.top[0])
                      for layer in read_net(text).layer if layer.type in TWINS]
        self.inner = nn.ModuleList(f for f, _, _ in self.steps if isinstance(f, nn.Module))

    def forward(self, data: Tensor) -> Tensor:
        """The last top, of the net's shape, from the image blob (N, C, H, W)."""
        values = {"data": data}
        value = data
        for function, bottoms, top in self.steps:
            value = function(*[values[name] for name in bottoms])
            values[top] = value
        return value


def _function(layer: Any) -> Callable[..., Tensor]:
    return TWINS[layer.type](layer, [nn.Parameter(blob.tensor.clone()) for blob in layer.blobs])


def _convolution(layer: Any, weights: list[nn.Parameter]) -> nn.Module:
    w = layer.window
    made = nn.Conv2d(layer.channels, layer.outputs, w.kernel, w.stride, w.pad, w.dilation,
                     layer.group)
    made.weight, made.bias = weights
    return made.to(memory_format=torch.channels_last)       # type: ignore[call-overload]


def _product(layer: Any, weights: list[nn.Parameter]) -> nn.Module:
    made = nn.Linear(layer.inputs, layer.outputs)
    made.weight, made.bias = weights
    return nn.Sequential(nn.Flatten(), made)


def _scale(layer: Any, weights: list[nn.Parameter]) -> Callable[[Tensor], Tensor]:
    scale, bias = (each.detach().reshape(-1, 1, 1) for each in weights)
    return lambda x: torch.addcmul(bias, x, scale)


def _prelu(layer: Any, weights: list[nn.Parameter]) -> nn.Module:
    made = nn.PReLU(len(weights[0]))
    made.weight = weights[0]
    return made


def _pooling(layer: Any, weights: list[nn.Parameter]) -> Callable[[Tensor], Tensor]:
    options = layer.param.pooling_param
    if options.global_pooling:
        return lambda x: x.mean((2, 3), keepdim=True)
    pool = F.max_pool2d if options.pool == options.MAX else F.avg_pool2d
    return lambda x: pool(x, options.kernel_size, options.stride, ceil_mode=True)


# prototxt type -> the function of torch that does the same, from the layer and its weights
TWINS: dict[str, Callable[[Any, list[nn.Parameter]], Callable[..., Tensor]]] = {
    "Convolution": _convolution, "InnerProduct": _product, "Scale": _scale, "PReLU": _prelu,
    "Pooling": _pooling, "ReLU": lambda layer, weights: F.relu,
    "Eltwise": lambda layer, weights: torch.add,
    "Softmax": lambda layer, weights: partial(torch.softmax, dim=1),
    "BatchNorm": lambda layer, weights: nn.BatchNorm2d(len(weights[0]), affine=False).eval()}


def measure_suite(repeat: int, works: Collection[str] | None = None) -> dict[str, Any]:
    """Milliseconds (least) and ratios to torch of each net and training step; JSON-ready.

    works: names of those to measure, if not all. On one thread, by the process's own seconds: what
    other programs take is not in them, but for caches that they empty.
    """
    chosen = [*NETS, *TRAININGS] if works is None else works
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = [_forward(name, text(), repeat) for name, text in NETS.items() if name in chosen]
        rows += [_training(name, batch, repeat) for name, batch in TRAININGS.items()
                 if name in chosen]
        return {"machine": machine(), "repeat": repeat, "suite": rows}
    finally:
        torch.set_num_threads(before)


def with_more_turns(found: dict[str, Any], works: Collection[str]) -> dict[str, Any]:
    """The figures after as many turns again of these works, of which the least counts, too."""
    more = {row["work"]: row for row in measure_suite(found["repeat"], works)["suite"]}
    rows = []
    for row in found["suite"]:
        again = more.get(row["work"], row)["milliseconds"]
        rows.append(_ratios(row["work"], {kind: min(took, again[kind])
                                          for kind, took in row["milliseconds"].items()}))
    return {**found, "suite": rows}


def _forward(name: str, text: str, repeat: int) -> dict[str, Any]:
    torch.manual_seed(0)
    net, fast = blank(text), caffe.Net.from_proto(read_net(text), caffe.TEST)
    fast.share_with(net)
    twin = Twin(net, text)
    image = torch.randn(net.blobs["data"].shape).to(memory_format=torch.channels_last)
    for one in (net, fast):
        one.blobs["data"].tensor = image        # as torch's module has it
    fast.optimize()
    with torch.no_grad():
        return _row(name, {AS_TORCH: lambda: twin(image), PLAIN: net.run, OPTIMISED: fast.run},
                    repeat)


def blank(text: str) -> caffe.Net:
    """A TEST net with weights drawn at random; means are 0 and variances 1."""
    net = caffe.Net.from_proto(read_net(text), caffe.TEST)
    for layer in net.layers:
        for blob in layer.blobs[1:layer.num_statistics]:
            blob.tensor.fill_(1)
    return net


def _training(name: str, batch: int, repeat: int) -> dict[str, Any]:
    torch.manual_seed(0)
    param = caffe_pb2.SolverParameter(base_lr=0.001, momentum=0.9, weight_decay=0.0005,
                                      lr_policy="fixed", type="SGD", snapshot_prefix="./lenet")
    text = small_nets.lenet(batch, train=True)
    param.net_param.CopyFrom(read_net(text))
    solver: Solver = caffe.get_solver(param)
    twin = Twin(solver.net, text)
    data, labels = torch.randn(batch, 1, 28, 28), torch.randint(0, 10, (batch,))
    solver.net.blobs["data"].tensor, solver.net.blobs["label"].tensor = data, labels.float()
    rule = torch.optim.SGD(twin.parameters(), 0.001, momentum=0.9, weight_decay=0.0005)

    def step() -> None:
        rule.zero_grad()
        F.cross_entropy(twin(data), labels).backward()
        rule.step()
    return _row(name, {AS_TORCH: step, PLAIN: lambda: solver.step(1)}, repeat)


def _often(work: Callable[[], object]) -> Callable[[], None]:
    def works() -> None:
        for _ in range(CALLS):
            work()
    return works


def _row(name: str, works: dict[str, Callable[[], object]], repeat: int) -> dict[str, Any]:
    times = take_turns({kind: _often(work) for kind, work in works.items()}, repeat,
                       time.process_time)
    return _ratios(name, {kind: 1000 * min(took) / CALLS for kind, took in times.items()})


def _ratios(name: str, least: dict[str, float]) -> dict[str, Any]:
    return {"work": name, "milliseconds": least,
            "ratios": {kind: least[kind] / least[AS_TORCH] for kind in least if kind != AS_TORCH}}


def suite_report(found: dict[str, Any]) -> str:
    """The figures as a Markdown table."""
    where = found["machine"]
    lines = [f"{where['cpu']}, {where['threads']} thread(s), torch {where['torch']}; least of "
             f"{found['repeat']}.", "",
             "| work | torch, ms | this engine / torch | optimised / torch |",
             "| --- | --- | --- | --- |"]
    for row in found["suite"]:
        ratios = row["ratios"]
        fast = f"{ratios[OPTIMISED]:.2f}" if OPTIMISED in ratios else "–"
        lines.append(f"| {row['work']} | {row['milliseconds'][AS_TORCH]:.3f} | "
                     f"{ratios[PLAIN]:.2f} | {fast} |")
    return "\n".join(lines)


def worse_than(found: dict[str, Any], stored: dict[str, Any]) -> list[tuple[str, str]]:
    """(work, a line about it) of each ratio above the stored one by more than TOLERANCE."""
    before = {(row["work"], kind): ratio for row in stored["suite"]
              for kind, ratio in row["ratios"].items()}
    return [(row["work"], f"{row['work']}, {kind} / torch: {ratio:.2f}, stored "
                          f"{before[row['work'], kind]:.2f}")
            for row in found["suite"] for kind, ratio in row["ratios"].items()
            if (row["work"], kind) in before
            and ratio > (1 + TOLERANCE) * before[row["work"], kind]]


def elsewhere(found: dict[str, Any], stored: dict[str, Any]) -> list[str]:
    """Lines about what differs between the two machines: ratios may, too."""
    mine, other = found["machine"], stored.get("machine", {})
    return [f"{what}: {mine[what]} here, {other[what]} stored"
            for what in ("cpu", "torch", "threads")
            if what in other and other[what] != mine[what]]
