"""Code of Python 2: its errors get a hint that names file, line and what to write now."""

import sys

import numpy as np
import pytest

import caffe
from caffe.cli import main
from caffe.engine.compat import python2
from caffe.engine.formats.prototxt import read_net
from caffe.engine.net.net import Net

HAS_NOTES = hasattr(Exception(), "add_note")

LINES = {                       # a line of Python 2 -> a part of the hint
    "print 'loss', 3": "print(x)",
    "print x": "print(x)",
    "import sys; print >> sys.stderr, 'x'": "file=sys.stderr",
    "exec 'x = 1'": "exec(code)",
    "raise ValueError, 'bad'": "raise Error(message)",
    "if x <> 3: pass": "!=",
    "y = `x`": "repr(x)",
    "y = 0777": "0o17",
    "y = 10L": "no L",
    "y = ur'x'": "prefix ur",
    "f = lambda (a, b): a": "tuples",
    "for i in xrange(3): pass": "range",
    "y = unicode(x)": "str",
    "y = reduce(max, [1, 2])": "functools.reduce",
    "for k, v in {1: 2}.iteritems(): pass": "items()",
    "y = {1: 2}.has_key(1)": "key in dictionary",
    "y = iter([1]).next()": "next(iterator)",
    "import cPickle": "pickle",
    "import ConfigParser": "configparser",
    "from itertools import izip": "zip",
    "y = [1, 2, 3][3 / 2]": "//",
    "y = [1, 2, 3][:3 / 2]": "//",
    "y = range(4 / 2)": "//",
    "import numpy as np; y = np.zeros(4)[4 / 2]": "//",
    "import numpy as np; y = np.zeros((4 / 2, 3))": "//",
    "y = {1: 2}.keys()[0]": "list(...)",
    "y = map(abs, [1])[0]": "list(...)",
    "y = len(filter(None, [1]))": "list(...)",
    "y = range(3) + [4]": "list(...)",
    "[1].sort(cmp=lambda a, b: 0)": "cmp_to_key",
    "b'x'.split('x')": "encode()",
}


def failure(tmp_path, line, name="old"):
    path = tmp_path / f"{name}.py"
    path.write_text(f"x = 1\n\n{line}\n")
    try:
        exec(compile(path.read_text(), str(path), "exec"), {})
    except Exception as error:
        return error
    raise AssertionError(f"{line} runs in Python 3")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("line", LINES)
def test_hints(tmp_path, line):
    hint = python2.hint(failure(tmp_path, line))
    assert hint.startswith(f"{tmp_path}/old.py:3: this is Python 2; ") and LINES[line] in hint


@pytest.mark.filterwarnings("ignore")
def test_two_lines_of_an_except(tmp_path):
    hint = python2.hint(failure(tmp_path, "try: pass\nexcept ValueError, e: pass"))
    assert hint.startswith(f"{tmp_path}/old.py:4:") and "except Error as name" in hint


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("line", ["1 / 0", "y = x.foo", "y = zzz", "import no_such", "x +",
                                  "[1][5]", "raise TypeError('something else')", "y = {}['k']"])
def test_ordinary_mistakes_get_none(tmp_path, line):
    assert python2.hint(failure(tmp_path, line)) is None


FROM_ARRAYS = """import numpy as np
def expand(classes):
    half = {half}
    for c in classes:
        start = 4 * c
        np.zeros((2, 8))[0, start:start + 4] = 1
"""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("half, parts", [("1", ["int(x)"]), ("len(classes) / 2", ["write //", "int(x)"])])
def test_a_float_that_came_out_of_an_array_is_not_called_a_division(tmp_path, half, parts):
    path = tmp_path / "targets.py"
    path.write_text(FROM_ARRAYS.format(half=half))
    space = {}
    exec(compile(path.read_text(), str(path), "exec"), space)
    with pytest.raises(TypeError) as raised:
        space["expand"](np.array([0.0, 1.0]))
    hint = python2.hint(raised.value)
    assert hint.startswith(f"{path}:6: ") and all(part in hint for part in parts)
    assert ("//" in hint) == ("write //" in parts)


def python_net(module, layer="Old"):
    return Net.from_proto(read_net(f"""
        layer {{ name: "p" type: "Python" top: "y" python_param {{
                 module: "{module}" layer: "{layer}" }} }}"""), caffe.TEST)


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        return str(tmp_path / f"{name}.py")
    return write


def notes(error, capsys):
    return "\n".join([*getattr(error, "__notes__", ()), capsys.readouterr().err])


def test_a_layers_module_that_does_not_compile(module, capsys):
    file = module("old_syntax", "import caffe\nprint 'layer'\n")
    with pytest.raises(SyntaxError) as caught:
        python_net("old_syntax")
    found = notes(caught.value, capsys)
    assert f"{file}:2: this is Python 2" in found and 'layer "p" (Python), importing' in found


def test_a_command_says_it_in_one_line(module, tmp_path, capsys):
    file = module("old_lines", "import caffe\nprint 'layer'\n")
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "p" type: "Python" top: "y" '
        'python_param { module: "old_lines" layer: "Old" } }')
    assert main(["time", "-model", str(tmp_path / "net.prototxt")]) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said and "caffe: error: " in said
    assert 'in layer "p" (Python)' in said and f"{file}:2: this is Python 2; print is" in said


def test_a_layers_module_that_imports_what_has_moved(module):
    file = module("old_import", "import caffe\nimport cPickle\n")
    with pytest.raises(caffe.LayerError, match="No module named 'cPickle'") as caught:
        python_net("old_import")
    assert f"{file}:2: this is Python 2; module cPickle is now pickle" in str(caught.value)
    module("broken_import", "import no_such_thing\n")
    with pytest.raises(caffe.LayerError, match='"broken_import" itself imports it'):
        python_net("broken_import")


@pytest.mark.parametrize("method", ["setup", "reshape", "forward"])
def test_a_layer_that_fails_when_it_runs(module, capsys, method):
    name = f"old_{method}"
    methods = "".join(
        f"    def {m}(self, bottom, top):\n"
        f"        {'xrange(3)' if m == method else 'top[0].reshape(1)'}\n"
        for m in ("setup", "reshape", "forward"))
    file = module(name, f"import caffe\nclass Old(caffe.Layer):\n{methods}")
    with pytest.raises(NameError) as caught:
        python_net(name).forward()
    found = notes(caught.value, capsys)
    assert f"{file}:" in found and "xrange is now range" in found
    assert not HAS_NOTES or 'in layer "p" (Python)' in found


@pytest.mark.parametrize("name", ["../x", "x/y", "/tmp/x", ".x", ""])
def test_layers_come_from_the_python_path_only(name):
    with pytest.raises(caffe.LayerError, match="must be the name of a module"):
        python_net(name)


def test_an_old_script_gets_its_hint(tmp_path, capsys):
    """Uncaught exceptions go through sys.excepthook, which `import caffe` has extended."""
    error = failure(tmp_path, "for i in xrange(3): pass", "script")
    sys.excepthook(type(error), error, error.__traceback__)
    shown = capsys.readouterr().err
    assert "NameError" in shown
    assert f"{tmp_path}/script.py:3: this is Python 2; xrange is now range" in shown
