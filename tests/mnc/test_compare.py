"""Tables of several systems."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mnc import cli, results
from mnc.commands import compare
from mnc.commands.compare import Row, named, text_table
from mnc.data import get_dataset
from mnc.evaluation.published import EVERYTHING, published


@pytest.fixture
def imdb(tiny_scenes):
    return f"sbd:{tiny_scenes}:val"


@pytest.fixture
def files(imdb, tmp_path):
    """Perfect results in each of the forms that can be compared."""
    from mnc.evaluation.average_precision import evaluate
    from mnc.results import coco as coco_results
    from test_coco_metric import perfect

    pytest.importorskip("pycocotools")
    data = get_dataset(imdb)
    coco_results.write_results(tmp_path / "theirs.json", data, perfect(data), 0.4)
    results.save_metrics(tmp_path / "metrics_seg.json", evaluate(data, perfect(data)), imdb=imdb)
    return [f"Theirs={tmp_path / 'theirs.json'}", str(tmp_path / "metrics_seg.json")]


def test_a_table_of_files(files, imdb, tmp_path, capsys):
    assert cli.main(["compare", *files, "--imdb", imdb]) == 0
    head, theirs, ours = capsys.readouterr().out.splitlines()
    assert head.split() == ["mAP^r@0.5", "mAP^r@0.7", "mAP^r_vol", "mAP^b@0.5"]
    assert theirs.split() == ["Theirs"] + ["100.0"] * 4
    assert ours.split() == [f"{tmp_path.name}/metrics_seg", "100.0", "100.0", "-", "-"]


def test_a_page(files, imdb, tmp_path):
    page = tmp_path / "page/compare.html"
    assert cli.main(["compare", *files, "--imdb", imdb, "--page", str(page), "--published", "all"]) == 0
    text = page.read_text()
    assert "<td>Theirs</td>" in text and "Hypercolumn" in text and text.count("<svg") == 1
    assert "<td>Theirs</td><td>0.0</td>" in text                     # perfect: no error costs anything
    assert cli.main(["compare", files[1], "--imdb", imdb, "--page", str(page)]) == 0
    assert "Curves need results" in page.read_text()


def test_published_rows_and_json(files, imdb, tmp_path, capsys):
    out = tmp_path / "table.json"
    assert cli.main(["compare", files[0], "--imdb", imdb, "--metrics", "coco", "--published", "all",
                     "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "published:" in printed and "Hypercolumn" in printed and "s / image" in printed
    rows = json.loads(out.read_text())
    assert rows[0]["name"] == "Theirs" and rows[0]["COCO mAP^r@.5"] == pytest.approx(100)
    assert [row["published"] for row in rows] == [False] + [True] * len(EVERYTHING)


def test_published_rows_are_those_of_the_data_set():
    assert {row.data for row in published("voc_2012_seg_val")} == {"voc_2012_seg_val"}
    assert published("scenes_val") == () == published("voc_2012_seg_val", "none")
    figures = {row.method: row.figures for row in published("voc_2012_seg_val")}
    assert figures["MNC, paper"] == {"mAP^r@0.5": 63.5, "mAP^r@0.7": 41.5}
    assert figures["MNC, public code"] == {"mAP^r@0.5": 65.0, "mAP^r@0.7": 46.3}
    assert all(0 < value < 100 for row in EVERYTHING for value in row.figures.values())


def test_the_table_by_hand():
    rows = [Row("mine", "d", {"a": 1.25}), Row("theirs", "d", {"a": 10.0, "b": 2}, "3", False)]
    assert text_table(rows, ["a", "b"]).splitlines() == ["               a    b  s / image",
                                                         "mine         1.2    -",
                                                         "published:",
                                                         "theirs      10.0  2.0  3"]


def test_names_of_rows():
    assert named("A=b=c/d.npz")[0] == "A=b" and named("c/d.npz")[0] == "c/d"


def test_a_file_may_hold_what_follows_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=0.1").mkdir()
    (tmp_path / "lr=0.1/d.npz").touch()
    assert named("lr=0.1/d.npz") == ("lr=0.1/d", Path("lr=0.1/d.npz"))
    assert named("mine=lr=0.1/d.npz") == ("mine", Path("lr=0.1/d.npz"))


def test_the_table_is_not_written_over_results(files, imdb, capsys):
    path = Path(files[1])
    before = path.read_bytes()
    assert cli.main(["compare", *files, "--imdb", imdb, "--out",
                     str(path.parent / "." / path.name)]) == 1
    assert "would be written over" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_figures_of_other_data_are_refused(files, tiny_scenes, capsys):
    assert cli.main(["compare", files[1], "--imdb", f"sbd:{tiny_scenes}:train"]) == 1
    assert "these figures are of sbd" in capsys.readouterr().err
    assert cli.main(["compare", "none.json", "--imdb", f"sbd:{tiny_scenes}:train"]) == 1
    assert "no such results file" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["compare", "evaluate"])
def test_absent_results_are_said_before_the_data_set_is_looked_for(command, capsys):
    assert cli.main([command, "none.npz", "--imdb", "sbd:no/such/folder:val"]) == 1
    assert "none.npz: no such results file" in capsys.readouterr().err
    assert cli.main([command, "none.npz"]) == 1
    assert "none.npz: no such results file" in capsys.readouterr().err


def test_only_our_own_metrics_files_are_taken_as_such(tmp_path):
    (tmp_path / "a.json").write_text("[]")
    assert compare.read_metrics(tmp_path / "a.json") is None
