"""The live page of a training: what its server gives out, and what not; the page as one file."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

from caffe.cli import main
from caffe.engine.errors import CaffeError
from caffe.engine.solving.metrics import JsonLines
from caffe.watch import kept, metrics_file, new_rows, server


@pytest.fixture
def folder(tmp_path):
    out = tmp_path / "out"
    (out / "validation").mkdir(parents=True)
    (out / "validation/0.jpg").write_bytes(b"JPEG")
    (out / "secret.jpg").write_bytes(b"no")
    lines = JsonLines(out / "metrics.jsonl")
    lines.begin(0)
    lines.write({"iteration": 0, "run": {"command": "</script><b>"}})
    lines.write({"iteration": 2, "validation": {"AP": 0.5}, "pictures": ["0.jpg", "gone.jpg"]})
    lines.end()
    return out


@contextmanager
def served(where):
    with server(where, port=0) as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{found.server_port}"
        finally:
            found.shutdown()
            thread.join()


def get(address):
    with urllib.request.urlopen(address, timeout=300) as reply:
        return reply.read()


def test_the_page_the_rows_and_the_pictures_are_served_and_nothing_else(folder):
    with served(folder) as address:
        assert b"<!doctype html>" in get(address + "/")
        found = json.loads(get(address + "/rows?from=0"))
        assert [json.loads(line)["iteration"] for line in found["rows"].splitlines()] == [0, 2]
        assert get(address + "/pictures/0.jpg?2") == b"JPEG"
        for name in ("/pictures/..%2Fsecret.jpg", "/secret.jpg", "/pictures/gone.jpg",
                     "/pictures/", "/metrics.jsonl", "/pictures/%2Fetc%2Fpasswd"):
            with pytest.raises(urllib.error.HTTPError, match="404") as error:
                get(address + name)
            error.value.close()


def test_only_what_is_new_is_sent(folder):
    path = folder / "metrics.jsonl"
    first = new_rows(path, "", 0)
    assert new_rows(path, first["id"], first["next"])["rows"] == ""
    with open(path, "a") as file:
        file.write('{"iteration": 3}\n{"iter')
    assert new_rows(path, first["id"], first["next"])["rows"] == '{"iteration": 3}\n'
    assert new_rows(path, "another file", first["next"])["rows"].count("\n") == 3


def test_a_training_that_goes_on_is_sent_anew(folder):
    """Its file is another then, without the rows that come again."""
    path = folder / "metrics.jsonl"
    before = new_rows(path, "", 0)
    lines = JsonLines(path)
    lines.begin(1)
    lines.end()
    after = new_rows(path, before["id"], before["next"])
    assert after["id"] != before["id"] and after["rows"].count("\n") == 1


def test_it_waits_for_a_training_that_has_not_begun(tmp_path):
    with served(tmp_path) as address:
        assert json.loads(get(address + "/rows?from=9&id=x")) == {"id": "", "next": 0, "rows": ""}
        (tmp_path / "lenet_metrics.jsonl").write_text('{"iteration": 0}\n')
        assert json.loads(get(address + "/rows"))["rows"] == '{"iteration": 0}\n'


def test_the_page_as_one_file(folder, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["watch", str(folder), "--page", str(page)]) == 0
    text = page.read_text()
    assert "data:image/jpeg;base64,SlBFRw==" in text and "const EMBEDDED = null" not in text
    assert "</script><b>" not in text and kept(folder / "metrics.jsonl") == text


def test_a_browser_draws_it(folder, dom_of, tmp_path):
    lines = JsonLines(folder / "metrics.jsonl")
    lines.begin(2)
    for iteration in (20, 40):
        lines.write({"iteration": iteration, "time": 1e9, "loss": 2.5, "lr": 0.01, "eta": 3,
                     "seconds": 90, "seconds_per_iteration": 0.25,
                     "losses": {"loss_mask": 1, "loss_mask_ext": None, "rpn_cls_loss": 0.5}})
    lines.write({"iteration": 40, "end": "stopped at iteration 40 of 50 by Ctrl-C"})
    lines.end()
    page = tmp_path / "page.html"
    page.write_text(kept(folder / "metrics.jsonl"))
    body = dom_of(page).partition("<script>")[0]
    assert "stopped at iteration 40 of 50 by Ctrl-C" in body and "<b>1:30</b>" in body
    assert body.count("<path d=\"M") == 6       # AP, loss, two losses of stages, rate, speed
    assert "loss_mask" in body and 'src="data:image/jpeg' in body


def test_what_is_not_there(tmp_path, capsys):
    with pytest.raises(CaffeError, match="no such folder; name that of a training"):
        metrics_file(tmp_path / "none")
    assert main(["watch", str(tmp_path), "--page", str(tmp_path / "page.html")]) == 1
    assert "not there yet; nothing has been trained" in capsys.readouterr().err
    with server(tmp_path, port=0) as taken, \
            pytest.raises(CaffeError, match=f"no server on 127.0.0.1, port {taken.server_port}"):
        server(tmp_path, port=taken.server_port)
