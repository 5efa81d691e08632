"""The page of a net, looked at in a browser where there is one."""

from __future__ import annotations

import re

import pytest

from caffe.commands import summary
from caffe.engine.net.page import page
from caffe.engine.net.placement import place
from test_plan import BRANCHES, INPUT, conv, layer, nets

NET = (*BRANCHES, layer("TanH", "e", "</script><b>odd & name"))
ACTIONS = """<script>
const box = document.getElementById("search");
box.value = "%s";
box.dispatchEvent(new Event("input", {bubbles: true}));
box.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter", bubbles: true}));
const clicked = "%s";
if (clicked) document.querySelector(`[data-layer="${clicked}"] rect`).dispatchEvent(
  new MouseEvent("click", {bubbles: true}));
</script>"""


@pytest.fixture
def seen(dom_of, tmp_path):
    """What a page is after that was typed and clicked, as the browser has it."""
    def seen(text, search="", click=""):
        path = tmp_path / "page.html"
        path.write_text(text.replace("</body>", ACTIONS % (search, click) + "</body>"))
        return dom_of(path)
    return seen


def test_a_click_shows_the_fields_of_the_layer(seen):
    net, = nets(*NET, count=1)
    fields = seen(page(net), click="c2").partition("<aside")[2].partition("</aside")[0]
    assert "<h2>c2</h2>" in fields and "<dd>Convolution</dd>" in fields
    assert "a: 2 x 4 x 8 x 10" in fields and "<dd>4 x 4 x 3 x 3</dd>" in fields
    assert 'name: "c2"' in fields


def test_search_marks_and_enter_goes_there(seen):
    net, = nets(*NET, count=1)
    dom = seen(page(net), search="c convol")
    found = re.findall(r'class="layer ([a-z ]+)" data-layer="(\w+)"', dom)
    assert {name for kind, name in found if "found" in kind} == {"c1", "c2"}
    assert "2 found" in dom and [n for kind, n in found if "chosen" in kind] == ["c1"]


def test_names_are_text(seen):
    net, = nets(*NET, count=1)
    dom = seen(page(net), search="odd")
    assert "1 found" in dom and "<h2>TanH_&lt;/script&gt;&lt;b&gt;odd &amp; name</h2>" in dom


def test_nothing_is_loaded_from_elsewhere():
    net, = nets(*NET, count=1)
    assert not re.search(r"https?:|src=|<link|@import|url\(", page(net))


def test_layers_in_place_stand_with_what_they_follow():
    net, = nets(INPUT, conv("c1", "x", "a"), layer("ReLU", "a", "a"), layer("TanH", "a", "b"),
                layer("TanH", "x", "c"), count=1)
    text = page(net)
    assert text.count("<path d=") == 3 and text.count('class="layer"') == 5
    assert "_split" not in text


def test_rows():
    """A diamond with a long edge: below all that is read, nothing at one place twice."""
    edges = [(0, 1), (0, 2), (1, 3), (2, 3), (3, 4), (0, 4)]
    found = place(5, edges)
    assert [row for row, _ in found.places] == [0, 1, 1, 2, 3]
    taken = [*found.places, *(at for path in found.edges for at in path[1:-1])]
    assert len(set(taken)) == len(taken)
    assert [len(path) for path in found.edges] == [2, 2, 2, 2, 2, 4]
    assert place(0, []).places == []


def test_notebooks_show_the_page():
    net, = nets(INPUT, conv("c1", "x", "a"), count=1)
    assert net._repr_html_().startswith("<iframe srcdoc=") and "c1" in net._repr_html_()


def test_the_command_shows_what_was_written(tmp_path, capsys):
    path, out = tmp_path / "net.prototxt", tmp_path / "net.html"
    path.write_text("\n".join((INPUT, conv("c1", "x", "a"))))
    assert summary.main([str(path), "--html", str(out)]) == 0
    assert "Wrote" in capsys.readouterr().out and "weight_filler" in out.read_text()
