"""The `caffe` command: flags in every form, the four commands, signals, errors."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

import caffe
from caffe import cli
from caffe.commands import devices, train
from caffe.commands.flags import Flag, parse
from caffe.commands.registration import ACTIONS, TOOLS, UsageError
from caffe.engine import log

NET = """
name: "tiny"
layer { name: "data" type: "Input" top: "data" top: "label"
  input_param { shape { dim: 3 dim: 5 } shape { dim: 3 dim: 2 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" }
                        bias_filler { type: "constant" value: 1 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "label" top: "loss" }
layer { name: "size" type: "Reduction" bottom: "ip" top: "size"
  include { phase: TEST } reduction_param { operation: ASUM } }
layer { name: "extra" type: "Power" bottom: "ip" top: "extra" include { stage: "deep" min_level: 2 } }
"""
SOLVER = """
net: "net.prototxt" test_iter: 2 test_interval: 4 base_lr: 0.25 lr_policy: "step" gamma: 0.5
stepsize: 4 display: 2 max_iter: 8 snapshot_prefix: "tiny" momentum: 0.5 random_seed: 1
"""


@pytest.fixture(autouse=True)
def usual_log():
    yield
    log.configure()
    caffe.set_mode_cpu()
    caffe.set_lenient(False)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The working directory, with net.prototxt and solver.prototxt."""
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    Path("solver.prototxt").write_text(SOLVER)
    return tmp_path


def said(capsys) -> list[str]:
    """The texts of the log, without glog's prefix."""
    return [line.split("] ", 1)[-1] for line in capsys.readouterr().err.splitlines()]


# --- flags ---------------------------------------------------------------------------------------

FLAGS = (Flag("name", str, "none", ""), Flag("count", int, 5, ""), Flag("fast", bool, False, ""),
         Flag("notes", str, "", ""))


@pytest.mark.parametrize("argv, name, count, fast", [
    ([], "none", 5, False),
    (["-name=a", "-count=-3"], "a", -3, False),
    (["--name=a=b", "--count=0x10"], "a=b", 16, False),
    (["-name", "a,b", "-count", "7", "-fast"], "a,b", 7, True),
    (["--name", "-x", "--fast=true"], "-x", 5, True),
    (["--fast", "--nofast"], "none", 5, False),
    (["--name="], "", 5, False),
    (["--name=a", "--name=b"], "b", 5, False),
])
def test_forms_of_flags(argv, name, count, fast):
    values, others = parse(["first", *argv, "last"], FLAGS, "")
    assert (values.name, values.count, values.fast) == (name, count, fast)
    assert others == ["first", "last"]


def test_flags_end_at_two_dashes_and_dashes_may_replace_underscores():
    values, others = parse(["--log-dir=", "-", "--", "--name=a"], FLAGS, "")
    assert values.log_dir == "" and others == ["-", "--name=a"]


@pytest.mark.parametrize("argv, message", [
    (["--cuont=3"], 'unknown flag --cuont; did you mean "count"?'),
    (["--nofats"], "unknown flag --nofats"),
    (["--count=many"], "--count takes a whole number, got 'many'"),
    (["--fast=maybe"], "--fast takes true or false, got 'maybe'"),
    (["--count"], "--count needs a value"),
    (["--noname"], "unknown flag --noname"),
])
def test_wrong_flags_are_named(argv, message):
    with pytest.raises(UsageError, match="^" + message.replace("?", r"\?")):
        parse(argv, FLAGS, "")


def test_a_flag_that_begins_with_no_is_a_flag():
    assert parse(["--notes=x"], FLAGS, "")[0].notes == "x"


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["train", "--help"]])
def test_help_lists_commands_tools_and_flags(argv, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(argv)
    text = capsys.readouterr().out
    assert left.value.code == 0
    assert all(word in text for word in (*ACTIONS.names(), *TOOLS.names(), "--sigint_effect"))


@pytest.mark.parametrize("table", [ACTIONS, TOOLS])
def test_the_table_says_of_a_command_what_its_function_says(table):
    for name in table.names():
        assert table.summary(name) == table.get(name).__doc__.splitlines()[0]


def test_every_console_script_of_a_tool_is_in_the_table():
    tomllib = pytest.importorskip("tomllib", reason="since Python 3.11")
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    for name, place in project["scripts"].items():
        module, _, function = place.partition(":")
        if module.startswith("caffe.commands"):
            assert TOOLS.get(name) is getattr(importlib.import_module(module), function), name


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["trian"], ["train", "--sovler=x"]])
def test_help_and_mistakes_wait_for_no_torch(words):
    code = f"""
import sys
from caffe.cli import main
try:
    main({words})
except SystemExit:
    pass
print("torch" in sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True)
    assert done.stderr.splitlines()[-1] == "False"


@pytest.mark.parametrize("line, words, flags", [
    ("caffe ", ["train", "summary", "convert_imageset"], ["--solver", "--lock"]),
    ("caffe summary ", ["summary"], []),
])
def test_the_shell_completes_commands_and_flags(line, words, flags, monkeypatch):
    """argcomplete is handed a parser that knows them; it leaves the process by itself."""
    seen = []
    monkeypatch.setitem(sys.modules, "argcomplete", types.SimpleNamespace(autocomplete=seen.append))
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    monkeypatch.setenv("COMP_LINE", line)
    cli.main([])
    known = {name: action for action in seen[0]._actions for name in action.option_strings}
    assert set(words) <= set(seen[0]._actions[1].choices)
    assert set(flags) <= set(known) and (flags or set(known) == {"-h", "--help"})
    assert b"PYTHON_ARGCOMPLETE_OK" in Path(cli.__file__).read_bytes()[:1024]


def test_version(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"caffe version {caffe.__version__}\n"


def test_every_flag_of_caffe_is_there():
    names = "gpu solver model phase level stage snapshot weights iterations sigint_effect " \
            "sighup_effect"
    assert set(names.split()) <= {flag.name for flag in cli.FLAGS}
    defaults = {flag.name: flag.default for flag in cli.FLAGS}
    assert (defaults["iterations"], defaults["sigint_effect"], defaults["sighup_effect"],
            defaults["gpu"]) == (50, "stop", "snapshot", "")


def test_no_command_shows_the_usage(capsys):
    assert cli.main([]) == 1
    assert capsys.readouterr().err.startswith("usage: caffe COMMAND")


@pytest.mark.parametrize("argv, message", [
    (["trian"], 'unknown command "trian"; did you mean "train"?'),
    (["sumary"], 'unknown command "sumary"; did you mean "summary"?'),
    (["xyzzy"], 'unknown command "xyzzy"; caffe --help lists them'),
    (["train", "test"], "train takes flags only; what is 'test'?"),
    (["train"], "train needs --solver FILE"),
    (["train", "--solver=nowhere"], "nowhere: cannot be read"),
    (["train", "--solver=s", "--snapshot=a", "--weights=b"], "not both"),
    (["train", "--solver=s", "--sigint_effect=halt"], "stop, snapshot, none; got 'halt'"),
    (["test", "--model=net.prototxt"], "test needs --model FILE and --weights FILE"),
    (["time"], "time needs --model FILE"),
    (["time", "--model=net.prototxt", "--phase=train"], "TRAIN or TEST, got 'train'"),
    (["time", "--model=net.prototxt", "--iterations=0"], "at least 1"),
    (["train", "--solver=solver.prototxt", "--cpu", "--gpu=0"], "--cpu or --gpu, not both"),
    (["train", "--solver=solver.prototxt", "--gpu=0,1"], "PyTorch finds no CUDA device here"),
    (["train", "--solver=solver.prototxt", "--gpu=0,1", "--workers=2"], "--workers or --gpu"),
    (["train", "--solver=solver.prototxt", "--workers=-1"], "a number of workers, got -1"),
    (["train", "--solver=solver.prototxt", "--compress=fp16"], "takes bf16, got 'fp16'"),
])
def test_errors_are_one_line_and_status_1(argv, message, folder, capsys):
    assert cli.main(argv) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("caffe: error: ") and message in lines[-1]


# --- devices -------------------------------------------------------------------------------------

@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")
@pytest.mark.parametrize("argv", [
    ["train", "--solver=solver.prototxt"], ["time", "--model=net.prototxt"],
    ["test", "--model=net.prototxt", "--weights=w"], ["device_query"],
])
@pytest.mark.parametrize("gpu", ["0", "all"])
def test_a_gpu_that_is_not_there(argv, gpu, folder, capsys):
    assert cli.main([*argv, f"--gpu={gpu}"]) == 1
    assert f"--gpu {gpu}: PyTorch finds no CUDA device" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")
def test_a_solver_file_that_wants_a_gpu_names_the_way_out(folder, capsys):
    Path("solver.prototxt").write_text(SOLVER + "solver_mode: GPU")
    assert cli.main(["train", "--solver=solver.prototxt"]) == 1
    assert "--cpu" in capsys.readouterr().err
    assert cli.main(["train", "--solver=solver.prototxt", "--cpu"]) == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_training_on_a_gpu(folder, capsys):
    assert cli.main(["train", "--solver=solver.prototxt", "--gpu=0"]) == 0
    assert "Using GPUs 0" in said(capsys)


def test_each_gpu_that_is_named_has_a_worker(folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    started = []
    monkeypatch.setattr("caffe.engine.parallel.launching.start", started.append)
    for gpus in ("all", "0,2"):
        cli.main(["train", "--solver=solver.prototxt", f"--gpu={gpus}"])
    assert started == [3, 2]
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert [devices.of_worker(gpus) for gpus in ([0, 2], [0, 1, 2], [1])] == [2, 1, 2]
    with pytest.raises(UsageError, match="worker 1 of this machine has no GPU of its own"):
        devices.of_worker([2])


def test_device_query_without_names_asks_for_them(capsys):
    assert cli.main(["device_query"]) == 0
    assert "--gpu all" in said(capsys)[0]


# --- train ---------------------------------------------------------------------------------------

def test_train_logs_what_scripts_look_for(folder, capsys):
    assert cli.main(["train", "--solver=solver.prototxt"]) == 0
    lines = said(capsys)
    wanted = ["Use CPU.", "Starting Optimization", "Solving tiny", "Learning Rate Policy: step",
              "Iteration 0, Testing net (#0)", "Iteration 4, lr = 0.125",
              "Snapshotting to binary proto file tiny_iter_8.caffemodel", "Optimization Done."]
    at = [lines.index(line) for line in wanted]
    assert at == sorted(at)
    assert any(line.startswith("    Train net output #0: loss = ") for line in lines)
    assert Path("tiny_iter_8.solverstate").exists()


def test_resumed_training_ends_the_same(folder):
    Path("solver.prototxt").write_text(SOLVER + "snapshot: 4")
    assert cli.main(["train", "-solver", "solver.prototxt"]) == 0
    straight = Path("tiny_iter_8.caffemodel").read_bytes()
    Path("tiny_iter_8.caffemodel").unlink()
    assert cli.main(["train", "-solver", "solver.prototxt",
                     "-snapshot", "tiny_iter_4.solverstate"]) == 0
    assert Path("tiny_iter_8.caffemodel").read_bytes() == straight


def test_weights_are_loaded_in_order(folder, capsys):
    for name, value in (("a", 3), ("b", 7)):
        net = caffe.Net("net.prototxt", caffe.TEST)
        net.params["ip"][0].data[...] = value
        net.save(f"{name}.caffemodel")
    Path("solver.prototxt").write_text(SOLVER.replace("max_iter: 8", "max_iter: 0"))
    assert cli.main(["train", "--solver=solver.prototxt",
                     "--weights=a.caffemodel,b.caffemodel"]) == 0
    trained = caffe.Net("net.prototxt", caffe.TEST, weights="tiny_iter_0.caffemodel")
    assert np.all(trained.params["ip"][0].data == 7)
    lines = said(capsys)
    assert lines.index("Finetuning from a.caffemodel") < lines.index("Finetuning from b.caffemodel")


def test_level_and_stage_reach_the_net(folder):
    flags = parse(["--solver=solver.prototxt", "--level=2", "--stage=deep,x"], cli.FLAGS, "")[0]
    state = train.configured(flags).train_state
    assert state.level == 2 and list(state.stage) == ["deep", "x"]
    assert "extra" in caffe.get_solver(train.configured(flags)).net.blobs


def test_nets_are_found_beside_the_solver_file(folder, monkeypatch):
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert cli.main(["train", "--solver=../solver.prototxt"]) == 0
    assert Path("tiny_iter_8.caffemodel").exists()


# --- signals -------------------------------------------------------------------------------------

def signalled(number: int):
    """A callback that sends this process a signal at iteration 2."""
    def on_start(solver):
        if solver.iter == 2:
            os.kill(os.getpid(), number)
    return on_start


@pytest.mark.parametrize("number, flags, last, snapshots", [
    (signal.SIGINT, [], 3, {3}),
    (signal.SIGHUP, [], 8, {3, 8}),
    (signal.SIGINT, ["--sigint_effect=snapshot"], 8, {3, 8}),
    (signal.SIGHUP, ["--sighup_effect=stop"], 3, {3}),
    (signal.SIGINT, ["--sigint_effect=none"], 8, {8}),
])
def test_signals(number, flags, last, snapshots, folder, monkeypatch, capsys):
    solvers = []

    def with_signal(param):
        solver = caffe.get_solver(param)
        solver.add_callback(lambda: signalled(number)(solver), lambda: None)
        solvers.append(solver)
        return solver

    monkeypatch.setattr(train, "get_solver", with_signal)
    before = signal.getsignal(number)
    assert cli.main(["train", "--solver=solver.prototxt", *flags]) == 0
    assert signal.getsignal(number) is before
    assert solvers[0].iter == last
    assert {int(p.stem.split("_")[-1]) for p in folder.glob("*.solverstate")} == snapshots
    assert ("Optimization stopped early." in said(capsys)) == (last == 3)


# --- test and time -------------------------------------------------------------------------------

def test_weights_that_fill_nothing_end_a_command(folder, capsys):
    Path("other.prototxt").write_text(NET.replace('"ip"\n', '"ip"').replace(
        'name: "ip"', 'name: "fc"'))
    caffe.Net("other.prototxt", caffe.TEST).save("other.caffemodel")
    Path("empty.caffemodel").write_bytes(b"")
    for name, reason in (("other", "nothing in it is for this net: it has fc, the net ip"),
                         ("empty", "holds no layers: it is empty")):
        for argv in (["test", "--model=net.prototxt"], ["train", "--solver=solver.prototxt"]):
            assert cli.main([*argv, f"--weights={name}.caffemodel"]) == 1
            assert f"caffe: error: {name}.caffemodel: {reason}" in capsys.readouterr().err


def test_test_averages_the_outputs(folder, capsys):
    net = caffe.Net("net.prototxt", caffe.TEST)
    net.save("w.caffemodel")
    assert cli.main(["test", "--model=net.prototxt", "--weights=w.caffemodel",
                     "--iterations", "3"]) == 0
    lines = said(capsys)
    # The input is 0, so ip is its bias: 3 rows of (1, 1); loss = 6 / (2 * 3), size = 6.
    assert lines[-3:] == ["Loss: 1", "loss = 1 (* 1 = 1 loss)", "size = 6"]
    assert "Running for 3 iterations." in lines
    assert [line for line in lines if line.startswith("Batch 2")] == ["Batch 2, loss = 1",
                                                                      "Batch 2, size = 6"]


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
def test_time_reports_every_layer(phase, folder, capsys):
    assert cli.main(["time", "-model=net.prototxt", "-iterations=2", f"-phase={phase}"]) == 0
    lines = said(capsys)
    net = caffe.Net("net.prototxt", getattr(caffe, phase))
    for layer in net.layers:
        for way in ("forward", "backward"):
            line = next(x for x in lines if x.startswith(f"{layer.name:>10}\t{way}: "))
            assert float(line.split()[2]) >= 0 and line.endswith(" ms.")
    for start in ("Average Forward pass: ", "Average Backward pass: ", "Average Forward-Backward: ",
                  "Total Time: "):
        assert sum(line.startswith(start) for line in lines) == 1
    assert sum(line.startswith("Iteration: ") for line in lines) == 2


def test_level_and_stage_of_test_and_time(folder, capsys):
    assert cli.main(["time", "--model=net.prototxt", "--iterations=1", "--level=2",
                     "--stage=deep"]) == 0
    assert any("extra\tforward" in line for line in said(capsys))


# --- the log, and processes ----------------------------------------------------------------------

def test_flags_of_the_log(folder, capsys):
    argv = ["time", "--model=net.prototxt", "--iterations=1"]
    assert cli.main([*argv, "--minloglevel=2"]) == 0
    assert capsys.readouterr().err == ""
    assert cli.main([*argv, "--log_dir=logs"]) == 0
    log.configure()
    files = [path for path in Path("logs").iterdir() if not path.is_symlink()]
    assert len(files) == 1 and "Benchmark ends" in files[0].read_text()
    assert cli.main([*argv, "--log_dir=none", "--logtostderr"]) == 0
    assert not Path("none").exists()


def test_lenient_reads_the_nets_of_forks(folder, capsys):
    Path("net.prototxt").write_text(NET.replace("bottom: \"data\"", 'bottom: "data" fork: 3'))
    assert cli.main(["time", "--model=net.prototxt", "--iterations=1"]) == 1
    assert "net.prototxt:5" in capsys.readouterr().err
    assert cli.main(["time", "--model=net.prototxt", "--iterations=1", "--lenient"]) == 0
    assert "fork" in capsys.readouterr().err


def test_as_a_process(folder):
    packages = str(Path(caffe.__file__).parents[1])
    done = subprocess.run([sys.executable, "-m", "caffe", "train", "--solver", "solver.prototxt"],
                          capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": packages})
    assert done.returncode == 0 and done.stdout == ""
    assert done.stderr.splitlines()[-1].endswith("] Optimization Done.")


IMAGES = """
layer { name: "pictures" type: "ImageData" top: "x" top: "y" image_data_param { source: "list.txt" } }
"""
OLD_LAYER = """
layer { name: "old" type: "Python" top: "x" python_param { module: "users_layer" layer: "Layer" } }
"""


def test_what_is_wrong_with_data_ends_a_command_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("list.txt").write_text("picture.jpg 1\n")
    Path("picture.jpg").write_text("no picture")
    Path("net.prototxt").write_text(IMAGES)
    assert cli.main(["time", "--model=net.prototxt", "--iterations=1"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("caffe: error: ") and "picture.jpg" in last


def test_an_error_in_a_users_layer_keeps_its_traceback(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("users_layer.py").write_text("import caffe\nclass Layer(caffe.Layer):\n"
                                      "    def setup(self, bottom, top): raise ValueError('mine')\n")
    Path("net.prototxt").write_text(OLD_LAYER)
    with pytest.raises(ValueError, match="mine"):
        cli.main(["time", "--model=net.prototxt", "--iterations=1"])
