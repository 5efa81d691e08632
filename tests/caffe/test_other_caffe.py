"""Another caffe in the environment: named, and its messages not mixed with ours."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import caffe
from caffe.engine.compat import other_caffe

OWN = Path(caffe.__file__).parent


def test_another_caffe_on_the_path_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "caffe").mkdir()
    (tmp_path / "caffe/__init__.py").write_text("from ._caffe import Net")
    monkeypatch.syspath_prepend(tmp_path)
    other_caffe.warn()
    line = capsys.readouterr().err
    assert f"another caffe on the Python path, {tmp_path.resolve()}/caffe" in line
    assert str(OWN.resolve()) in line


def test_by_itself_nothing_is_said(tmp_path, monkeypatch, capsys):
    (tmp_path / "caffe").mkdir()                                # no package: data of some project
    monkeypatch.syspath_prepend(tmp_path)
    other_caffe.warn()
    assert other_caffe.others() == [] and capsys.readouterr().err == ""


def test_a_second_copy_of_the_messages_is_named(tmp_path):
    """In a process of its own, with the package but without what its __init__ imports."""
    code = f"""
import sys, types
from google.protobuf import descriptor_pb2, descriptor_pool
file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe")
file.message_type.add(name="Datum")
module = types.ModuleType("old_caffe_pb2")
module.__file__ = {str(tmp_path / "old_caffe_pb2.py")!r}
module.DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
sys.modules["old_caffe_pb2"] = module
sys.modules["caffe"] = types.ModuleType("caffe")
sys.modules["caffe"].__path__ = [{str(OWN)!r}]
import caffe.proto
"""
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True)
    assert "ImportError: another copy of Caffe's messages is loaded" in done.stderr
    assert "old_caffe_pb2.py" in done.stderr


@pytest.mark.parametrize("file", ["__init__.py", "imagenet/mean.txt"])
def test_mnc_names_a_caffe_that_is_not_its_own(tmp_path, file):
    path = tmp_path / "caffe" / file
    path.parent.mkdir(parents=True)
    path.write_text("raise ImportError('libboost_python.so.1.58')")
    lib = OWN.parents[2] / "lib"
    code = (f"import os, sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f)]; "
            f"sys.path[:] = [{str(tmp_path)!r}, {str(lib)!r}, *(p for p in sys.path if p and not "
            f"os.path.exists(p + '/caffe'))]; import mnc")          # ours may be installed in several places
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True,
                          env={**os.environ, "PYTHONPATH": ""})
    assert f"the caffe that Python finds, {tmp_path}/caffe, is another" in done.stderr
    assert str(lib / "mnc") in done.stderr


@pytest.mark.parametrize("module", ["caffe._caffe", "caffe.io", "caffe.proto", "caffe.net_spec"])
def test_no_module_of_ours_works_under_another_package(tmp_path, module):
    (tmp_path / "caffe").mkdir()
    (tmp_path / "run.py").write_text(f"""import sys, types
sys.path.insert(0, {str(tmp_path)!r})
sys.modules["caffe"] = package = types.ModuleType("caffe")
package.__path__ = [{str(tmp_path / "caffe")!r}, {str(tmp_path / "more")!r}]
finder = types.SimpleNamespace(find_spec=lambda name, path=None, target=None: __import__(
    "importlib.machinery").machinery.PathFinder.find_spec(name, [{str(OWN)!r}]) if name.count(".") == 1 else None)
sys.meta_path.insert(0, finder)
import {module}
""")
    done = subprocess.run([sys.executable, tmp_path / "run.py"], text=True, capture_output=True)
    last = done.stderr.strip().splitlines()[-1]
    assert "which is another Caffe's" in last and f"run.py:2: sys.path.insert(0, {str(tmp_path)!r})" in last
