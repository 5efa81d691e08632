"""A page that shows a training while it runs: its metrics.jsonl, followed by a local server.

The page (watch.html) asks every two seconds for the rows that are new, and draws them by itself:
nothing is loaded from elsewhere. `kept` makes it one file that needs no server.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from caffe.engine.errors import CaffeError
from caffe.engine.solving.metrics import read_rows

PORT = 8765
TRIED = 20                          # ports from PORT on, where none is named
PAGE = Path(__file__).with_name("watch.html")
PICTURES = "validation"             # folder of them beside the rows
TYPES = {".jpg": "image/jpeg", ".png": "image/png"}
MOST = 1 << 22                      # bytes of rows in one answer


def metrics_file(where: str | os.PathLike[str]) -> Path:
    """The file of rows of a training: itself, or in its folder the one that was written last.

    It may not be there yet. Raises CaffeError if the folder is not either.
    """
    path = Path(where)
    if path.is_file() or (path.suffix == ".jsonl" and path.parent.is_dir()):
        return path
    if not path.is_dir():
        raise CaffeError(f"{path}: no such folder; name that of a training: the --out of `mnc "
                         "train`, or where `caffe train --metrics` has its snapshots")
    found = sorted(path.glob("*metrics.jsonl"),
                   key=lambda each: (each.stat().st_mtime_ns, each.name))
    return found[-1] if found else path / "metrics.jsonl"


def new_rows(path: Path, known: str, start: int) -> dict[str, object]:
    """Whole lines of the file from byte `start` on, if it is still the file that is `known`.

    {"id": of the file, "next": where to go on, "rows": lines}
    """
    try:
        with open(path, "rb") as file:
            about = os.fstat(file.fileno())
            name = f"{about.st_dev}-{about.st_ino}"
            start = start if known == name and 0 <= start <= about.st_size else 0
            file.seek(start)
            content = file.read(MOST)
    except FileNotFoundError:
        return {"id": "", "next": 0, "rows": ""}
    content = content[:content.rfind(b"\n") + 1]
    return {"id": name, "next": start + len(content), "rows": content.decode(errors="replace")}


def picture(path: Path, name: str) -> bytes | None:
    """A picture beside the rows; None if there is none of that name."""
    place = path.parent / PICTURES / name
    fine = Path(name).name == name and place.suffix in TYPES and place.is_file()
    return place.read_bytes() if fine else None


def kept(path: Path) -> str:
    """The page with all in it: rows so far, and the last pictures."""
    rows = read_rows(path)
    shown: list[str] = next((row["pictures"] for row in reversed(rows)
                             if isinstance(row.get("pictures"), list)), [])
    found = {name: picture(path, name) for name in shown}
    pictures = {name: f"data:{TYPES[Path(name).suffix]};base64,{base64.b64encode(each).decode()}"
                for name, each in found.items() if each}
    content = json.dumps({"rows": "".join(json.dumps(row) + "\n" for row in rows),
                          "pictures": pictures}).replace("</", "<\\/")
    return PAGE.read_text(encoding="utf-8").replace("const EMBEDDED = null;",
                                                    f"const EMBEDDED = {content};", 1)


class Handler(BaseHTTPRequestHandler):
    """Answers with the page, the rows that are new, and pictures; with nothing else."""

    def __init__(self, find: Callable[[], Path], *arguments: object) -> None:
        self._find = find
        super().__init__(*arguments)            # type: ignore[arg-type]

    def do_GET(self) -> None:
        """The name is http.server's."""
        address = urlsplit(self.path)
        if address.path == "/":
            return self._send(PAGE.read_bytes(), "text/html; charset=utf-8")
        if address.path == "/rows":
            given = parse_qs(address.query)
            start = given.get("from", ["0"])[0]
            found = new_rows(self._find(), given.get("id", [""])[0],
                             int(start) if start.isdecimal() else 0)
            return self._send(json.dumps(found).encode(), "application/json")
        name = unquote(address.path.removeprefix("/pictures/"))
        content = picture(self._find(), name) if address.path.startswith("/pictures/") else None
        if content is None:
            return self.send_error(404)
        self._send(content, TYPES[Path(name).suffix])

    def _send(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(content))),
                            ("Cache-Control", "no-store")):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Requests are no news."""


def server(where: str | os.PathLike[str], host: str = "127.0.0.1",
           port: int | None = None) -> ThreadingHTTPServer:
    """A server for the page of a training, ready for `serve_forever`.

    port: by default the first free one from PORT on; 0 for any. Raises CaffeError for a folder that
    is not there or a port that is taken.
    """
    metrics_file(where)
    tried = range(PORT, PORT + TRIED) if port is None else [port]
    handler = partial(Handler, lambda: metrics_file(where))
    for number in tried:
        try:
            return ThreadingHTTPServer((host, number), handler)
        except (OSError, OverflowError) as error:
            problem = error
    raise CaffeError(f"no server on {host}, port {port or f'{tried[0]} to {tried[-1]}'}: {problem}")


def watch(where: str, *, page: str | None = None, host: str = "127.0.0.1",
          port: int | None = None) -> int:
    """Serve the page until Ctrl-C, or write it as one file `page`; returns the exit status.

    Raises CaffeError where there is no training to show.
    """
    if page:
        path = metrics_file(where)
        if not path.is_file():
            raise CaffeError(f"{path}: not there yet; nothing has been trained")
        Path(page).write_text(kept(path), encoding="utf-8")
        print(f"Wrote {page}")
        return 0
    with server(where, host, port) as found:
        print(f"{where}: http://{host}:{found.server_port}/ (Ctrl-C ends)", flush=True)
        if not metrics_file(where).is_file():
            print(f"{metrics_file(where)} is not there yet: the page waits for it", flush=True)
        try:
            found.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0
