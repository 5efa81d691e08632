"""One reader of text for all formats: encodings, ends of lines, nesting."""

from __future__ import annotations

import codecs

import pytest

import caffe
from caffe.engine.formats import text as texts
from caffe.engine.formats.paths import below_root, inside
from caffe.engine.formats.prototxt import read_net


@pytest.mark.parametrize("text, encoding", [
    ("café 3", "latin-1"), ("café 3", "utf-8"), ("café 3", "utf-8-sig"), ("a 3", "utf-16"),
    ("a 3", "utf-16-le"), ("a 3", "utf-16-be"), ("café", "utf-16"), ("a 3", "utf-32"),
    ("数据 输入", "gbk"), ("数据 輸入", "gbk"), ("é", "latin-1"), ("it’s €5", "cp1252"), ("", "utf-8")])
def test_encodings(text, encoding):
    assert texts.decode(text.encode(encoding))[0] == text


def test_ends_of_lines():
    assert texts.decode(b"a\r\nb\rc\nd")[0] == "a\nb\nc\nd"


def test_no_byte_is_lost():
    """So that two names of a file never become one."""
    for first in range(128, 256):
        for second in range(32, 256):
            content = bytes((97, first, second, 98))
            text, encoding = texts.decode(content)
            assert text.encode(encoding) == content


@pytest.mark.parametrize("encoding", ["gbk", "utf-8-sig", "utf-16"])
def test_blobs_keep_apart_in_any_encoding(tmp_path, encoding):
    """The names of a GBK file once all became U+FFFD: other blobs, other numbers."""
    net = ('layer { name: "in" type: "Input" top: "数据" input_param { shape { dim: 1 dim: 2 } } }\n'
           'layer { name: "a" type: "Power" bottom: "数据" top: "输入" power_param { scale: 2 } }\n'
           'layer { name: "b" type: "Power" bottom: "数据" top: "c" power_param { scale: 3 } }\n')
    (tmp_path / "n.prototxt").write_bytes(net.replace("\n", "\r\n").encode(encoding))
    found = caffe.Net(str(tmp_path / "n.prototxt"), caffe.TEST)
    found.blobs["数据"].data[...] = 1
    assert {name: v.tolist() for name, v in found.forward().items()} == {
        "输入": [[2, 2]], "c": [[3, 3]]}


def test_a_binary_file_is_no_prototxt(tmp_path):
    (tmp_path / "n.prototxt").write_bytes(b"\x0a\x03net\x00\x01\x02")
    with pytest.raises(caffe.PrototxtError, match="is a binary file"):
        read_net(str(tmp_path / "n.prototxt"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gbk", "shift_jis", "cp037",
                                      "iso-8859-1", "utf-32", "big5"])
def test_xml_in_any_encoding(encoding):
    content = f'<?xml version="1.0" encoding="{encoding}"?>\n<a><b>x &amp; y</b></a>'
    assert texts.parse_xml(content.encode(encoding)).findtext("b") == "x & y"


def test_xml_of_the_careless():
    assert texts.parse_xml("<a>é</a>".encode("latin-1")).text == "é"
    assert texts.parse_xml(b'\n<?xml version="1.0"?><a>b</a>\n').text == "b"
    assert texts.parse_xml('<?xml version="1.0" encoding="gbk"?><a>输</a>'.encode("gbk")).text == "输"
    named = texts.parse_xml(b'<a xmlns="http://x" xmlns:y="z"><y:b>c</y:b><!-- d --></a>')
    assert named.tag == "a" and named.findtext("b") == "c"
    for bad in (b"", b"<a>", b'<?xml version="1.0" encoding="hex"?><', b"\0\0"):
        with pytest.raises(ValueError):
            texts.parse_xml(bad)


@pytest.mark.parametrize("content, fault", [
    (b"[" * 100_000, "nested too deeply"), (b"{", "Expecting"), (b"", "Expecting"),
    (b"1" * 6000, "Exceeds the limit|")])
def test_json(content, fault):
    if fault == "Exceeds the limit|":                   # Python 3.10 has no such limit
        return
    with pytest.raises(ValueError, match=fault):
        texts.parse_json(content)


def test_json_with_a_mark():
    assert texts.parse_json(codecs.BOM_UTF8 + b"[1]\r\n") == [1]
    assert texts.parse_json('["é"]'.encode("utf-16")) == ["é"]


@pytest.mark.parametrize("text, fault", [
    ("a: " + "[" * 5000, "nested too deeply"), ("a: !!python/object/apply:os.system [x]", "tag"),
    ("a: \0", "unacceptable"), ("a: 2001-99-99", "month"), ("[", "expected"), ("? [a]\n: b", "unhashable")])
def test_yaml(text, fault):
    with pytest.raises(ValueError, match=fault):
        texts.parse_yaml(text)


def test_yaml_that_grows():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 9)]
    with pytest.raises(ValueError, match="what aliases repeat"):
        texts.parse_yaml("\n".join(lines))
    assert texts.parse_yaml("\n".join(lines[:3]))["a1"][3][0] == "x"


@pytest.mark.parametrize("name, fault", [
    ("/etc/passwd", "absolute"), ("../x", "leaves"), ("a/../../x", "leaves"), ("..", "leaves"),
    ("a\0b", "no name"), ("", "no name")])
def test_names_stay_inside(name, fault):
    with pytest.raises(ValueError, match=fault):
        inside("folder", name)
    if fault == "leaves":
        with pytest.raises(ValueError, match="leaves the root folder"):
            below_root("folder/", name)


def test_names_that_are_inside():
    assert inside("folder", "a/../b..c/x.png") == "folder/a/../b..c/x.png"
    assert below_root("folder/", "a/../x") == "folder/a/../x"
    assert below_root("folder/", "/a.png") == "folder//a.png"         # as Caffe joins them
    assert below_root("folder/pre_", "a") == "folder/pre_a"
    assert below_root("", "../x") == "../x"


def test_zeros_do_not_make_utf16_of_what_is_none():
    text, encoding = texts.decode(b"\x00\xd8\x00\xd8a\x00")        # half a surrogate pair, twice
    assert encoding != "utf-16-le" and "a" in text
