"""Text of any origin: the one place where bytes of text files become characters.

Encodings: what a byte order mark or an XML declaration says; else UTF-8; UTF-16, told by its zeros;
GBK, where all is pairs of bytes that stand for Chinese; else Windows' Latin-1. Each maps different
bytes to different characters, so that two names never become one. Lines may end as those of Unix,
Windows or old Macs do.
"""

from __future__ import annotations

import codecs
import json
import os
import re
from typing import Any
from xml.etree import ElementTree

import yaml

MOST_NODES = 1_000_000          # of YAML, with what aliases repeat

_MARKS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
          (codecs.BOM_UTF8, "utf-8-sig"),
          (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?\bencoding\s*=\s*["']([\w.:-]+)["']""")
_EBCDIC = "<?xm".encode("cp037")


def decode(content: bytes) -> tuple[str, str]:
    """(text, the name of its encoding): without a byte order mark, lines ending in a newline."""
    for mark, encoding in _MARKS:
        if content.startswith(mark) and _decodes(content, encoding):
            break
    else:
        encoding = _guessed(content)
    text = content.decode(encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n"), encoding


def _guessed(content: bytes) -> str:
    zeros = (content[0::2].count(0), content[1::2].count(0))
    if len(content) % 2 == 0 and min(zeros) == 0 and max(zeros) > len(content) // 8:
        wide = "utf-16-le" if zeros[1] else "utf-16-be"
        if _decodes(content, wide):
            return wide
    return next(name for name in ("utf-8", "gb2312", "gbk", "cp1252", "latin-1")
                if _decodes(content, name))


def _decodes(content: bytes, encoding: str) -> bool:
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        return False
    # any pair of high bytes is a character of GBK; a text of it has mostly the common ones
    return encoding != "gbk" or _is_mostly_common([c for c in text if c > "\x7f"])


def _is_mostly_common(characters: list[str]) -> bool:
    common = sum(bool(character.encode("gb2312", "ignore")) for character in characters)
    return 2 * common > len(characters)


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a file, whatever its encoding; OSError if it cannot be read."""
    return read_encoded(path)[0]


def read_encoded(path: str | os.PathLike[str]) -> tuple[str, str]:
    """(text, the name of its encoding) of a file; OSError if it cannot be read."""
    with open(path, "rb") as file:
        return decode(file.read())


def stored_name(path: str, encoding: str) -> str:
    """The path; where there is no such file, but one named by its bytes in `encoding`, that one.

    A list in Latin-1 may name files by the same bytes, or by the same characters in UTF-8.
    """
    if encoding.startswith("utf") or os.path.exists(path):
        return path
    try:
        as_bytes = os.fsdecode(path.encode(encoding))
    except UnicodeEncodeError:
        return path
    return as_bytes if os.path.exists(as_bytes) else path


# --- formats that are text -----------------------------------------------------------------------

def parse_json(content: bytes) -> Any:
    """The value of JSON; ValueError that says what is wrong with it."""
    try:
        return json.loads(decode(content)[0])
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_yaml(text: str) -> Any:
    """The value of YAML, of plain types only; ValueError that says what is wrong with it."""
    try:
        value = yaml.safe_load(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except yaml.YAMLError as error:
        raise ValueError(_yaml_reason(error)) from error
    except Exception as error:          # impossible dates, keys that are lists: raised as they come
        raise ValueError(f"{type(error).__name__}: {error}") from error
    _check_nodes(value)
    return value


def _yaml_reason(error: yaml.YAMLError) -> str:
    """In one line, without the picture of the place."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    said = ", ".join(filter(None, (error.context, error.problem)))      # type: ignore[attr-defined]
    return f"line {mark.line + 1}, column {mark.column + 1}: {said}"


def _check_nodes(value: Any) -> None:
    """ValueError if aliases make more of the value than there is in the file."""
    count, waiting = 0, [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            waiting.extend(each.values())
        elif isinstance(each, (list, tuple, set)):
            waiting.extend(each)
        count += 1
        if count > MOST_NODES:
            raise ValueError(f"more than {MOST_NODES} values, counting what aliases repeat")


def parse_xml(content: bytes) -> ElementTree.Element:
    """The root element of XML in any encoding, its names without the namespaces they are of.

    ValueError that says what is wrong with it.
    """
    text = _declared_text(content)
    try:
        root = ElementTree.fromstring(text.strip("\0 \t\n"))
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _declared_text(content: bytes) -> str:
    head = content[:200]
    if head.startswith(_EBCDIC):
        head = head.decode("cp037").encode("ascii", "replace")
    declared = _DECLARED.match(head)
    if declared and declared[1].lower() not in (b"utf-8", b"utf-16"):
        try:
            return content.decode(declared[1].decode("ascii"))
        except (LookupError, UnicodeError):         # no encoding of text, or not this one
            pass
    return decode(content)[0]
