import numpy as np
import pytest

from mnc import config
from mnc.config import ConfigError, cfg, cfg_from_file, cfg_from_list, get_output_dir, overridden


def write(tmp_path, text):
    path = tmp_path / "x.yml"
    path.write_text(text)
    return path


def test_defaults_are_those_of_the_public_code():
    assert (cfg.RNG_SEED, cfg.EPS, cfg.MASK_SIZE, cfg.BINARIZE_THRESH) == (3, 1e-14, 21, 0.4)
    assert cfg.PIXEL_MEANS.ravel().tolist() == [102.9801, 115.9465, 122.7717]
    assert cfg.TRAIN.SCALES == (600,) and cfg.TRAIN.MAX_SIZE == 1000
    assert (cfg.TRAIN.RPN_PRE_NMS_TOP_N, cfg.TRAIN.RPN_POST_NMS_TOP_N) == (12000, 2000)
    assert (cfg.TEST.RPN_PRE_NMS_TOP_N, cfg.TEST.RPN_POST_NMS_TOP_N) == (6000, 300)
    assert set(cfg.COMPAT.values()) == {"reference", "all", 75.0}


def test_a_file_is_laid_over_the_defaults(tmp_path):
    cfg_from_file(write(tmp_path, "EXP_DIR: mine\nTRAIN:\n  SCALES: [480, 576]\n  BATCH_SIZE: 32\n"
                                  "  RPN_POSITIVE_WEIGHT: 1\n  FG_FRACTION: [0.25]\n"))
    assert cfg.EXP_DIR == "mine" and cfg.TRAIN.BATCH_SIZE == 32
    assert cfg.TRAIN.SCALES == (480, 576)                                   # a list became a tuple
    assert cfg.TRAIN.RPN_POSITIVE_WEIGHT == 1.0 and cfg.TRAIN.FG_FRACTION == [0.25]
    assert isinstance(cfg.TRAIN.RPN_POSITIVE_WEIGHT, float)
    assert cfg.TRAIN.MAX_SIZE == 1000                                       # untouched


def test_an_empty_file_changes_nothing(tmp_path):
    cfg_from_file(write(tmp_path, "# nothing\n"))
    assert cfg.EXP_DIR == "default"


@pytest.mark.parametrize("text, said", [
    ("TRAIN:\n  BATCHSIZE: 3\n", ["x.yml", "TRAIN.BATCHSIZE", "TRAIN.BATCH_SIZE"]),
    ("BATCH_SIZE: 3\n", ["unknown", "TRAIN.BATCH_SIZE"]),
    ("TRAIN: 3\n", ["section", "TRAIN."]),
    ("TRAIN:\n  BATCH_SIZE: 0.5\n", ["x.yml", "TRAIN.BATCH_SIZE", "whole number", "0.5"]),
    ("TRAIN:\n  BATCH_SIZE: true\n", ["TRAIN.BATCH_SIZE", "True"]),
    ("MNC_MODE: 1\n", ["MNC_MODE", "True or False"]),
    ("TRAIN:\n  SCALES: 600\n", ["TRAIN.SCALES", "list"]),
    ("TRAIN:\n  SCALES: [a]\n", ["TRAIN.SCALES", "numbers"]),
    ("TEST:\n  SCALES: []\n", ["x.yml", "TEST.SCALES", "a number or more"]),
    ("ANCHOR_RATIOS: []\n", ["ANCHOR_RATIOS", "a number or more"]),
    ("PIXEL_MEANS: [1, 2]\n", ["PIXEL_MEANS", "3 numbers"]),
    ("COMPAT:\n  MASK_GRADIENT: exakt\n", ["COMPAT.MASK_GRADIENT", "reference, exact", "exakt"]),
    ("COMPAT:\n  BBOX_GROWTH: 0\n", ["x.yml", "COMPAT.BBOX_GROWTH", "above 0 and at most 75"]),
    ("COMPAT:\n  BBOX_GROWTH: .nan\n", ["COMPAT.BBOX_GROWTH", "nan"]),
    ("- 1\n", ["x.yml", "KEY: value"]),
    ("a: [\n", ["x.yml", "YAML"]),
])
def test_errors_name_file_and_key(tmp_path, text, said):
    with pytest.raises(ConfigError) as error:
        cfg_from_file(write(tmp_path, text))
    assert all(word in str(error.value) for word in said), str(error.value)


def test_a_wrong_key_leaves_everything_as_it_was(tmp_path):
    with pytest.raises(ConfigError):
        cfg_from_file(write(tmp_path, "EXP_DIR: mine\nNO_SUCH: 1\n"))
    assert cfg.EXP_DIR == "default"


def test_a_missing_file_is_named():
    with pytest.raises(ConfigError, match="nowhere.yml"):
        cfg_from_file("nowhere.yml")


def test_pairs_apply():
    cfg_from_list(["TRAIN.SCALES", "(480, 576)", "EXP_DIR", "mine", "TEST.NMS", "0.5",
                   "TRAIN.USE_FLIPPED", "False", "COMPAT.BRIDGE_DELTAS", "exact", "RNG_SEED", 7])
    assert cfg.TRAIN.SCALES == (480, 576) and cfg.EXP_DIR == "mine" and cfg.TEST.NMS == 0.5
    assert cfg.TRAIN.USE_FLIPPED is False and cfg.COMPAT.BRIDGE_DELTAS == "exact"
    assert cfg.RNG_SEED == 7


def test_text_may_look_like_a_number():
    cfg_from_list(["EXP_DIR", "2024"])
    assert cfg.EXP_DIR == "2024"


def test_values_are_never_evaluated():
    with pytest.raises(ConfigError, match="RNG_SEED must be a whole number"):
        cfg_from_list(["RNG_SEED", "1 + 1"])
    cfg_from_list(["EXP_DIR", "__import__('os').getcwd()"])
    assert cfg.EXP_DIR == "__import__('os').getcwd()"


def test_pairs_must_be_pairs_of_known_keys():
    with pytest.raises(ConfigError, match="pairs"):
        cfg_from_list(["EXP_DIR"])
    with pytest.raises(ConfigError, match="--set.*EXP_DIRS.*EXP_DIR"):
        cfg_from_list(["EXP_DIRS", "x"])


@pytest.mark.parametrize("words, said", [
    (["FOO"], "got 1 words: FOO; FOO has no value"),
    (["TEST.NMS", "0.5", "EXP_DIR"], "; EXP_DIR has no value"),
    (["TEST.SCALES", "EXP_DIR", "mine"], "; TEST.SCALES has no value"),
    (["TEST.NMS", "0.5", "--iters", "3"], "--iters too: put --set and its KEY VALUE pairs last"),
    (["TEST.NMS", "--iters", "3"], "--iters too")])
def test_what_is_missing_or_too_much_is_named(words, said):
    with pytest.raises(ConfigError) as error:
        cfg_from_list(words)
    assert said in str(error.value) and cfg.TEST.NMS == 0.3


def test_a_list_that_may_be_empty():
    cfg_from_list(["TRAIN.BG_FRACTION", "[]"])
    assert cfg.TRAIN.BG_FRACTION == []


def test_means_take_three_numbers():
    cfg_from_list(["PIXEL_MEANS", "[1, 2, 3]"])
    assert np.array_equal(cfg.PIXEL_MEANS, [[[1.0, 2.0, 3.0]]])


def test_overridden_holds_for_the_block_only():
    with pytest.raises(RuntimeError), overridden({"TRAIN.BATCH_SIZE": 8, "EXP_DIR": "x"}) as inside:
        assert (inside.TRAIN.BATCH_SIZE, cfg.EXP_DIR) == (8, "x")
        raise RuntimeError
    assert (cfg.TRAIN.BATCH_SIZE, cfg.EXP_DIR) == (64, "default")


def test_output_dir(tmp_path):
    with overridden({"ROOT_DIR": str(tmp_path), "EXP_DIR": "e"}):
        assert get_output_dir("imdb") == str(tmp_path / "output" / "e" / "imdb")
        assert get_output_dir("imdb", "net") == str(tmp_path / "output" / "e" / "imdb" / "net")


def test_root_is_the_checkout_or_the_working_directory(tmp_path, monkeypatch):
    assert config._root_dir() == cfg.ROOT_DIR
    monkeypatch.setattr(config, "__file__", str(tmp_path / "site-packages" / "mnc" / "config.py"))
    monkeypatch.chdir(tmp_path)
    assert config._root_dir() == str(tmp_path)
