"""data/scripts: downloads from a server of our own on this machine."""

from __future__ import annotations

import hashlib
import http.server
import importlib.util
import io
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "data" / "scripts"
spec = importlib.util.spec_from_file_location("fetch", SCRIPTS / "fetch.py")
fetcher = importlib.util.module_from_spec(spec)
sys.modules["fetch"] = fetcher                              # dataclasses look it up
spec.loader.exec_module(fetcher)
Remote, FetchError = fetcher.Remote, fetcher.FetchError


class Files(http.server.BaseHTTPRequestHandler):
    """Serves server.files; with server.cut only so many bytes of an answer get through."""

    def do_GET(self):
        content = self.server.files.get(self.path)
        self.server.asked.append((self.path, self.headers.get("Range")))
        if content is None:
            return self.send_error(404)
        first = 0
        if self.headers.get("Range") and self.server.resumes:
            first = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            if first >= len(content):
                return self.send_error(416)
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        self.wfile.write(content[first:][:self.server.cut])
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as found:
        found.files, found.asked, found.resumes, found.cut = {}, [], True, None
        found.url = f"http://127.0.0.1:{found.server_port}"
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def tar_of(**files):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return stream.getvalue()


def md5(content):
    return "md5:" + hashlib.md5(content).hexdigest()


def test_an_archive_is_verified_and_unpacked_once(server, tmp_path):
    content = tar_of(top__data__a="A", top__data__sub__b="B", top__other="no")
    server.files["/x.tgz"] = content
    remote = Remote((f"{server.url}/x.tgz",), "place", md5(content), strip=2, only="top/data/")
    assert fetcher.fetch(remote, tmp_path) == tmp_path / "place"
    assert sorted(p.relative_to(tmp_path / "place").as_posix()
                  for p in (tmp_path / "place").rglob("*") if p.is_file()) == [
                      ".x.tgz.unpacked", "a", "sub/b"]
    fetcher.fetch(remote, tmp_path)
    assert len(server.asked) == 1


def test_two_archives_share_a_folder(server, tmp_path):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("images/c.jpg", "C")
    server.files = {"/one.tgz": tar_of(images__a="A"), "/two.zip": stream.getvalue()}
    for name in ("one.tgz", "two.zip"):
        fetcher.fetch(Remote((f"{server.url}/{name}",), "place"), tmp_path)
    assert {p.name for p in (tmp_path / "place" / "images").iterdir()} == {"a", "c.jpg"}


def test_without_a_checksum_it_is_shown(server, tmp_path, capsys):
    server.files["/x.tgz"] = content = tar_of(a="A")
    fetcher.fetch(Remote((f"{server.url}/x.tgz",), "place"), tmp_path)
    assert f"its SHA-256 is {hashlib.sha256(content).hexdigest()}" in capsys.readouterr().out


def test_a_wrong_file_is_set_aside(server, tmp_path):
    server.files["/w.bin"] = b"something else"
    remote = Remote((f"{server.url}/w.bin",), "models", "sha1:" + "0" * 40, name="w.caffemodel")
    with pytest.raises(FetchError, match=f"sha1 [0-9a-f]+, but it should be {'0' * 40}"):
        fetcher.fetch(remote, tmp_path)
    assert [p.name for p in (tmp_path / "models").iterdir()] == ["w.caffemodel.part.wrong"]


@pytest.mark.parametrize("resumes", [True, False])
def test_a_broken_download_goes_on(server, tmp_path, resumes):
    content = bytes(range(256)) * 40
    server.files["/w.bin"], server.cut, server.resumes = content, 3000, resumes
    remote = Remote((f"{server.url}/w.bin",), "models", md5(content), name="w")
    with pytest.raises(FetchError, match="w.bin cannot be fetched"):
        fetcher.fetch(remote, tmp_path)
    assert (tmp_path / "models" / "w.part").stat().st_size == 3000
    server.cut = None
    assert fetcher.fetch(remote, tmp_path).read_bytes() == content
    assert server.asked == [("/w.bin", None), ("/w.bin", "bytes=3000-")]


def test_a_download_that_only_lacked_its_name(server, tmp_path):
    server.files["/w.bin"] = content = b"all there"
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "w.part").write_bytes(content)
    remote = Remote((f"{server.url}/w.bin",), "models", md5(content), name="w")
    assert fetcher.fetch(remote, tmp_path).read_bytes() == content


def test_a_dead_address_says_where_to_put_the_file(server, tmp_path):
    remote = Remote((f"{server.url}/gone.tgz", "http://127.0.0.1:9/gone.tgz"), "place",
                    note="http://example.org")
    with pytest.raises(FetchError) as caught:
        fetcher.fetch(remote, tmp_path)
    message, archive = str(caught.value), tmp_path / "downloads" / "gone.tgz"
    assert "Not Found" in message and "http://127.0.0.1:9/gone.tgz: " in message
    assert f"put it at {archive} and run this again" in message and "example.org" in message
    archive.write_bytes(tar_of(a="A"))
    assert (fetcher.fetch(remote, tmp_path) / "a").read_text() == "A"


def test_the_second_address_helps_out(server, tmp_path):
    server.files["/w.bin"] = b"here"
    remote = Remote((f"{server.url}/gone.bin", f"{server.url}/w.bin"), "models", name="w")
    assert fetcher.fetch(remote, tmp_path).read_bytes() == b"here"


def test_an_archive_that_is_none(server, tmp_path):
    server.files["/x.tgz"] = tar_of(a="A")[:-30]
    with pytest.raises(FetchError, match="x.tgz: not a whole archive"):
        fetcher.fetch(Remote((f"{server.url}/x.tgz",), "place"), tmp_path)
    server.files["/y.tgz"] = tar_of(a="A")
    with pytest.raises(FetchError, match="holds nothing below top/"):
        fetcher.fetch(Remote((f"{server.url}/y.tgz",), "place", only="top/"), tmp_path)
    assert not list(tmp_path.glob("place/*"))


def test_the_sbd_is_split_as_voc_2012(tmp_path):
    sbd, lists = tmp_path / "VOCdevkitSDS", tmp_path / "VOCdevkit2012/VOC2012/ImageSets/Main"
    assert fetcher.split_as_voc_2012(tmp_path) == ""
    (sbd / "inst").mkdir(parents=True)
    for name in "abc":
        (sbd / "inst" / f"{name}.mat").touch()
    (sbd / "train.txt").write_text("a\nb\nc\n")
    (sbd / "val.txt").write_text("")
    assert "are the SBD's own" in fetcher.split_as_voc_2012(tmp_path)
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("c\nd\n")
    (lists / "val.txt").write_text("a\nb\n")
    for _ in range(2):
        assert "VOC 2012: 1 and 2 images" in fetcher.split_as_voc_2012(tmp_path)
    assert (sbd / "train.txt").read_text() == "c\n" and (sbd / "val.txt").read_text() == "a\nb\n"
    assert (sbd / "train_sbd.txt").read_text() == "a\nb\nc\n"


def test_the_command(server, tmp_path, capsys, monkeypatch):
    content = tar_of(top__a="A")
    server.files["/x.tgz"] = content
    group = {"2001-train": Remote((f"{server.url}/x.tgz",), "place", md5(content), strip=1),
             "2001-test": Remote((f"{server.url}/gone.tgz",), "place")}
    monkeypatch.setitem(fetcher.GROUPS, "voc", group)
    monkeypatch.setitem(fetcher.SHORT, "voc", {"2001": tuple(group)})
    assert fetcher.main(["voc", "2001", "--data", str(tmp_path)]) == 1      # one of two
    assert (tmp_path / "place" / "a").read_text() == "A"
    assert "error: gone.tgz cannot be fetched" in capsys.readouterr().err
    assert fetcher.main(["voc", "2001-train", "--data", str(tmp_path)]) == 0
    assert fetcher.main(["voc", "2002", "--data", str(tmp_path)]) == 1
    assert "voc has no part '2002'; there are: 2001-train, 2001-test, 2001" in \
        capsys.readouterr().err
    assert fetcher.main(["mnc_model", "--data", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert f"put it at {tmp_path / 'mnc_model' / 'mnc_model.caffemodel.h5'} and" in said


def test_what_is_gone_is_replaced(server, tmp_path, capsys, monkeypatch):
    """By a file whose SHA-256 begins as its name says; the next step is that file's."""
    content = b"weights"
    digits = hashlib.sha256(content).hexdigest()[:8]
    server.files[f"/net-{digits}.pth"] = content
    parts = {"old": Remote((f"{server.url}/gone.tgz",), "models", instead="by-hand"),
             "by-hand": Remote((), "models", name="old.caffemodel", instead="new"),
             "new": Remote((f"{server.url}/net-{digits}.pth",), "models", f"sha256:{digits}", name="net.pth", next="make it")}
    monkeypatch.setitem(fetcher.GROUPS, "imagenet_models", parts)
    assert fetcher.main(["imagenet_models", "old", "--data", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert out == f"new: {tmp_path}/models/net.pth\nNext: make it\n"
    assert "fetching by-hand instead" in err and "fetching new instead" in err
    parts["new"] = Remote(parts["new"].urls, "other", "sha256:00000000", name="net.pth")
    assert fetcher.main(["imagenet_models", "new", "--data", str(tmp_path)]) == 1
    assert "should be 00000000" in capsys.readouterr().err


def test_what_stands_in_for_a_part_is_one():
    for parts in fetcher.GROUPS.values():
        assert {remote.instead for remote in parts.values()} <= {"", *parts}


@pytest.mark.parametrize("group", fetcher.GROUPS)
def test_every_group_has_its_script(group):
    said = subprocess.run([SCRIPTS / f"fetch_{group}.sh", "--list"], check=True, text=True,
                          capture_output=True).stdout
    for name, remote in fetcher.GROUPS[group].items():
        assert f"{name}: {remote.urls[0] if remote.urls else 'no address'}" in said
        kind, _, digest = (remote.checksum or "").partition(":")
        assert len(digest) == {"": 0, "md5": 32, "sha1": 40, "sha256": 8}[kind]
    for parts in fetcher.SHORT.get(group, {}).values():
        assert set(parts) <= set(fetcher.GROUPS[group])
