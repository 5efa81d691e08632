"""Hints for code of Python 2: most Caffe projects were written in it.

`hint(error)` says, for an exception, which construct of Python 2 is behind it, where, and what to
write now; None if it does not look like one.
"""

from __future__ import annotations

import dis
import re
import sys
import sysconfig
import traceback
from pathlib import Path

from caffe.engine import log

_NAMES = {
    "xrange": "range", "raw_input": "input", "unicode": "str", "basestring": "str", "long": "int",
    "unichr": "chr", "reduce": "functools.reduce", "file": "open", "cmp": "(a > b) - (a < b)",
    "execfile": "exec(open(name).read())", "reload": "importlib.reload", "apply": "f(*args)",
    "intern": "sys.intern", "buffer": "memoryview",
}
_METHODS = {
    "iteritems": "items()", "itervalues": "values()", "iterkeys": "keys()",
    "viewitems": "items()", "has_key": "key in dictionary", "next": "next(iterator)",
    "maxint": "sys.maxsize", "izip": "zip", "imap": "map", "ifilter": "filter",
    "izip_longest": "itertools.zip_longest", "getcwdu": "os.getcwd", "maketrans": "str.maketrans",
}
_MODULES = {
    "cPickle": "pickle", "Queue": "queue", "ConfigParser": "configparser", "StringIO": "io",
    "cStringIO": "io", "urllib2": "urllib.request", "urlparse": "urllib.parse",
    "httplib": "http.client", "__builtin__": "builtins", "commands": "subprocess",
    "thread": "_thread", "Tkinter": "tkinter", "copy_reg": "copyreg", "exceptions": "builtins",
    "SocketServer": "socketserver", "HTMLParser": "html.parser", "anydbm": "dbm", "sets": "set",
}
_SYNTAX = (                                 # a line that Python 3 cannot parse -> what it says
    (r"(^|[;:])\s*print\b(?!\s*\()", "print is a function: print(x)"),
    (r"^\s*exec\s+[^(]", "exec is a function: exec(code)"),
    (r"\bexcept\b.*,\s*\w+\s*:", "write: except Error as name:"),
    (r"^\s*raise\s+[\w.]+\s*,", "write: raise Error(message)"),
    (r"<>", "write != for <>"),
    (r"`", "write repr(x) for `x`"),
    (r"\b\d+[lL]\b", "integers have no L behind them"),
    (r"(?<![\w.])0\d+\b", "octal numbers are written 0o17"),
    (r"\bur[\"']", "strings have no prefix ur"),
    (r"\blambda\s*\(|\bdef\s+\w+\s*\(.*\(.*\)", "arguments cannot be tuples; unpack inside"),
)
_MESSAGES = (                               # what Python 3 says at run time -> what to do
    (r"'(dict_keys|dict_values|dict_items|map|filter|zip)' object (is not subscriptable|has no"
     r"|does not support|is not an iterator)|object of type '(map|filter|zip)' has no len"
     r"|for \+: '(range|dict_\w+|map|filter|zip)' and|for \+: 'list' and '(range|dict_\w+|map|zip)'"
     r"|'(dict_keys|dict_values|dict_items|map|filter|zip|range)' object does not support item",
     "keys(), values(), items(), map, filter, zip, range give no lists in Python 3: list(...)"),
    (r"a bytes-like object is required, not 'str'|argument must be str, not bytes"
     r"|can't concat str to bytes|can only concatenate str \(not \"bytes\"\)",
     "text and bytes differ in Python 3: open files as 'rb' or 'wb', or encode() / decode()"),
    (r"for >>: 'builtin_function_or_method'", "write print(x, file=sys.stderr)"),
    (r"'cmp' is an invalid keyword argument", "write sort(key=functools.cmp_to_key(function))"),
    (r"dictionary changed size during iteration|dictionary keys changed during iteration",
     "keys() is no copy in Python 3: loop over list(dictionary)"),
)
_FLOAT_INDEX = re.compile(
    r"indices must be integers or slices, not float|slice indices must be integers"
    r"|only integers, slices .* are valid indices"
    r"|'(numpy\.)?float(\d+)?' object cannot be interpreted as an integer")
_DIVISION = "/ of integers gives a float in Python 3; Python 2 rounded down: write //"
_FLOATS = ("numbers out of a blob or an array of floats are floats, and those are no indices any "
           "more: write int(x), or array.astype(int)")
_OWN = str(Path(__file__).resolve().parents[2])
_LIBRARIES = tuple(sysconfig.get_paths()[kind]
                   for kind in ("stdlib", "platstdlib", "purelib", "platlib"))


def hint(error: BaseException) -> str | None:
    """`FILE:LINE: what is Python 2 there, and what to write`, or None."""
    advice = _syntax(error) if isinstance(error, SyntaxError) else _runtime(error)
    place = _place(error)
    return f"{place}: this is Python 2; {advice}" if advice and place else None


def annotate(error: BaseException) -> None:
    """Add the hint, if there is one, to what the exception shows (before 3.11: to the log)."""
    found = hint(error)
    if found:
        add_note(error, found)


def add_note(error: BaseException, text: str) -> None:
    """Show `text` below the exception, once."""
    if not hasattr(error, "add_note"):
        log.error("%s: %s", type(error).__name__, text)
    elif text not in getattr(error, "__notes__", ()):
        error.add_note(text)


def install() -> None:
    """Give uncaught exceptions of scripts their hint, too."""
    before = sys.excepthook
    if getattr(before, "hints", False):
        return

    def hook(kind, error, trace):
        if isinstance(error, Exception):
            annotate(error)
        before(kind, error, trace)
    hook.hints = True       # type: ignore[attr-defined]
    sys.excepthook = hook


def _syntax(error: SyntaxError) -> str | None:
    if isinstance(error, TabError):
        return "indentation mixes tabs and spaces; use spaces"
    line = (error.text or "").split("#")[0]
    return next((advice for pattern, advice in _SYNTAX if re.search(pattern, line)), None)


def _runtime(error: BaseException) -> str | None:
    text = str(error)
    if isinstance(error, ModuleNotFoundError):
        return _replaced(_MODULES, error.name, "module {} is now {}")
    if isinstance(error, ImportError):
        return _replaced(_METHODS, _quoted(r"cannot import name '(\w+)'", text), "{} is now {}")
    if isinstance(error, NameError):
        return _replaced(_NAMES, _quoted(r"name '(\w+)' is not defined", text), "{} is now {}")
    if isinstance(error, AttributeError):
        name = _quoted(r"has no attribute '(\w+)'", text)
        return _replaced(_METHODS, name, "{} is now {}") or _by_message(text)
    if isinstance(error, UnicodeDecodeError):
        calls = [f.name for f in traceback.extract_tb(error.__traceback__)] + [_line(error)]
        return "pickle.load(file, encoding='latin1') reads pickles of Python 2" \
            if any("pickle" in call or "load" in call for call in calls) else None
    if not isinstance(error, (TypeError, IndexError, RuntimeError)):
        return None
    return _float_index(error) if _FLOAT_INDEX.search(text) else _by_message(text)


def _float_index(error: BaseException) -> str:
    """A float where an index should be comes of a division, or out of an array of floats."""
    codes = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)
             if is_users(frame.f_code.co_filename)]
    if "/" in _line(error):
        return _DIVISION
    divides = any(step.opname == "BINARY_TRUE_DIVIDE" or step.argrepr in ("/", "/=")
                  for code in codes[-1:] for step in dis.get_instructions(code))
    return f"{_DIVISION}; or {_FLOATS}" if divides else _FLOATS


def _quoted(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match and match[1]


def _replaced(table: dict[str, str], name: str | None, form: str) -> str | None:
    return form.format(name, table[name]) if name in table else None


def _by_message(text: str) -> str | None:
    return next((advice for pattern, advice in _MESSAGES if re.search(pattern, text)), None)


def _place(error: BaseException) -> str | None:
    """FILE:LINE of the user's code that the exception came from: no library's, not ours."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if is_users(f.filename)]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None


def _line(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return (frames[-1].line or "") if frames else ""


def is_users(filename: str) -> bool:
    """Whether code of that file is the user's: no library's, not ours."""
    return not (filename.startswith(("<", _OWN)) or filename.startswith(_LIBRARIES))
