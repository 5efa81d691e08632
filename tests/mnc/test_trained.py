"""`--model FOLDER`: the net, the last weights and the settings that a training left."""

from __future__ import annotations

import argparse
import shutil

import pytest

import caffe
from mnc import cli
from mnc.commands import export
from mnc.commands.model_flags import add_model_arguments, named_files
from mnc.config import ConfigError
from mnc.nets import NetError
from mnc.nets.settings import save_settings
from mnc.nets.trained import model_in


@pytest.fixture
def folder(tiny_model, mini_cfg, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(tiny_model, out / "net")
    net = caffe.Net(str(tiny_model / "train.prototxt"), caffe.TRAIN)
    mini_cfg.TEST.SCALES = (96,)
    for number in (900, 1000):
        net.save_hdf5(str(out / f"tiny_iter_{number}.caffemodel.h5"))
        save_settings(out / f"tiny_iter_{number}.caffemodel.h5", "vwxyz")
    return out


def test_the_last_weights_with_their_net(folder):
    assert model_in(folder) == (str(folder / "net/test.prototxt"),
                                str(folder / "tiny_iter_1000.caffemodel.h5"))
    shutil.move(folder / "net/test.prototxt", folder / "test.prototxt")
    assert model_in(folder)[0] == str(folder / "test.prototxt")
    for path in folder.glob("*.h5"):
        path.unlink()
    with pytest.raises(NetError, match="no snapshot NAME_iter_N"):
        model_in(folder)
    with pytest.raises(NetError, match="no net/test.prototxt in it; name the folder"):
        model_in(folder / "net/none")


def test_test_and_demo_take_it(folder, tiny_scenes, tmp_path, caplog, mini_cfg):
    caplog.set_level("INFO", "mnc")
    mini_cfg.TEST.SCALES = (200,)
    assert cli.main(["test", "--cpu", "--model", str(folder), "--imdb", f"sbd:{tiny_scenes}:val",
                     "--out", str(tmp_path / "test")]) == 0
    assert f"settings: {folder / 'tiny_iter_1000.yml'}" in caplog.text
    assert mini_cfg.TEST.SCALES == (96,)
    picture = min((tiny_scenes / "img").iterdir())
    assert cli.main(["demo", str(picture), "--cpu", "--model", str(folder), "--out",
                     str(tmp_path / "demo")]) == 0
    assert (tmp_path / "demo/index.html").is_file()


@pytest.mark.parametrize("command", [["test"], ["demo"], ["serve"], ["export", "-o", "x.onnx"]])
def test_model_stands_alone_in_every_command(folder, command, capsys):
    for others in (["--net", "w.caffemodel"], ["--net", "Mini"], ["--weights", "w"], ["--def", "p"]):
        assert cli.main([*command, "--cpu", "--model", str(folder), *others]) == 1
        assert "leave out --def, --net and --weights" in capsys.readouterr().err


def test_what_names_nothing_or_twice(folder, capsys):
    for words, complaint in ((["test"], "name the net: --model FOLDER"),
                             (["export", "-o", "x.onnx"], "name the net: --model FOLDER"),
                             (["export", str(folder), "--model", str(folder), "-o", "x.onnx"], "are given once"),
                             (["demo", "--model", "x.onnx", "--net", "Mini"], "leave out --def, --net")):
        assert cli.main([*words, "--cpu"]) == 1
        assert complaint in capsys.readouterr().err


def test_export_takes_the_folder_by_either_name(folder):
    for words in ([str(folder)], ["--model", str(folder)]):
        args = cli.arguments(["export", *words, "-o", "x.onnx"])
        assert export.model_files(args) == model_in(folder)


def test_the_best_weights_come_before_the_last_and_any_may_be_named(folder):
    net = caffe.Net(str(folder / "net/train.prototxt"), caffe.TRAIN)
    net.save_hdf5(str(folder / "tiny_best.caffemodel.h5"))
    assert model_in(folder)[1] == str(folder / "tiny_best.caffemodel.h5")
    older = folder / "tiny_iter_900.caffemodel.h5"
    assert model_in(older) == (str(folder / "net/test.prototxt"), str(older))


def named(*words):
    p = argparse.ArgumentParser()
    add_model_arguments(p)
    return named_files(p.parse_args(words))


def test_a_net_is_a_name_and_weights_are_files_in_every_command():
    prototxts, weights = named("--net", "Mini")
    assert prototxts[0].endswith("models/Mini/mnc_5stage/test.prototxt")
    assert weights[0].endswith("mini_mnc_5stage.caffemodel.h5")
    assert named("--net", "Mini", "--weights", "w.h5") == (prototxts, ["w.h5"])
    assert named("--def", "a", "--net", "w.h5", "--net", "v.h5") == (["a"], ["w.h5", "v.h5"])
    assert named("--def", "a", "--weights", "w.h5") == (["a"], ["w.h5"])
    with pytest.raises(ConfigError, match="--net ZF: no weights of it come with the project"):
        named("--net", "ZF")
