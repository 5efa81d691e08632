"""The one writer: whole or not at all, through links, and what the dead left is cleared."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading

import pytest

from caffe.engine.formats.atomic_file import HOST, atomic_path, remove_leftovers, write_file


def full(*args):
    raise OSError(errno.ENOSPC, "No space left on device")


class FullFile:
    def __init__(self, real):
        self.real = real

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.real.close()

    def write(self, part):
        self.real.write(part[:3])
        full()


@pytest.mark.parametrize("step", ["open", "write", "fsync", "replace"])
def test_each_step_that_fails_leaves_what_was_there_and_names_the_file(step, tmp_path, monkeypatch):
    target = tmp_path / "snapshot"
    target.write_bytes(b"precious")
    if step == "open":
        monkeypatch.setattr("builtins.open", full)
    elif step == "write":
        monkeypatch.setattr("builtins.open", lambda path, mode, real=open: FullFile(
            real(path, mode)))
    else:
        monkeypatch.setattr(f"os.{step}", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*snapshot'"):
        write_file(target, b"new content")
    monkeypatch.undo()
    assert target.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_cannot_be_synced_costs_nothing(tmp_path, monkeypatch):
    real = os.fsync

    def fsync(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr("os.fsync", fsync)
    write_file(tmp_path / "w", b"a", b"b")
    assert (tmp_path / "w").read_bytes() == b"ab"


def test_the_folder_is_synced_after_the_rename(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", lambda d: synced.append(os.readlink(f"/proc/self/fd/{d}")))
    write_file(tmp_path / "w", b"x")
    assert synced[-1] == str(tmp_path)


def test_a_link_stays_and_what_it_names_is_written(tmp_path):
    (tmp_path / "other").mkdir()
    link = tmp_path / "latest"
    link.symlink_to("other/w")
    write_file(link, b"1")
    write_file(link, b"2")
    assert link.is_symlink() and (tmp_path / "other/w").read_bytes() == b"2"


def test_a_pipe_is_written_to_and_stays(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    write_file(pipe, b"content")
    reader.join(300)
    assert found == [b"content"] and pipe.is_fifo()


def test_dev_null_and_stdout():
    write_file("/dev/null", b"x")
    code = ("from caffe.engine.formats.atomic_file import write_file\n"
            "write_file('/dev/stdout', b'out')")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.stdout == b"out"


def test_leftovers_of_the_dead_go_and_of_the_living_stay(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = {f".s_iter_3.caffemodel.{HOST}.{dead.pid}.tmp": True,
             f".s_iter_3.caffemodel.{HOST}.{os.getppid()}.tmp": False,
             ".s_iter_3.caffemodel.elsewhere.77.tmp": False,        # may be at work
             f".other.{HOST}.{dead.pid}.tmp": False, ".s_.tmp": False, "s_iter_3.tmp": False}
    for name in names:
        (tmp_path / name).write_bytes(b"half")
    os.utime(tmp_path / ".s_iter_3.caffemodel.elsewhere.77.tmp")
    gone = remove_leftovers(tmp_path, "s_")
    assert [path.name for path in gone] == [name for name, left in names.items() if left]
    assert {path.name for path in tmp_path.iterdir()} == \
        {name for name, left in names.items() if not left}
    os.utime(tmp_path / ".s_iter_3.caffemodel.elsewhere.77.tmp", (0, 0))
    assert len(remove_leftovers(tmp_path, "s_")) == 1
    assert remove_leftovers(tmp_path / "none") == []


def test_a_name_of_the_longest_kind_can_be_written(tmp_path):
    with atomic_path(tmp_path / ("n" * 250)) as temporary:
        temporary.write_bytes(b"x")
    assert (tmp_path / ("n" * 250)).read_bytes() == b"x"


@pytest.mark.parametrize("save", ["save", "save_hdf5"])
def test_a_file_size_limit_is_an_error_that_names_the_file(save, tmp_path):
    """Where h5py writes to disk itself, the library ends the process here."""
    code = f"""
import resource
import caffe
net = caffe.Net('layer {{ name: "p" type: "Parameter" top: "p" '
                'parameter_param {{ shape {{ dim: 300000 }} }} }}', caffe.TEST)
resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
try:
    net.{save}("w")
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, cwd=tmp_path)
    assert done.stdout.strip() == "[Errno 27] File too large: 'w'"
    assert not list(tmp_path.iterdir())
