"""A model as a page and as JSON: in a browser, under load, with bad requests."""

from __future__ import annotations

import http.server
import json
import queue
import re
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as codes

from mnc.masks import run_lengths

pytest.importorskip("fastapi")
pytest.importorskip("httpx")
uvicorn = pytest.importorskip("uvicorn")

import httpx  # noqa: E402

from mnc.serving import app as serving  # noqa: E402
from mnc.serving.app import Limits, create_app  # noqa: E402
from mnc.serving.worker import Full, Worker  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


HUNG = 300      # seconds after which something has not been slow, but hangs


class Fake:
    """Sees a cat on the left, less surely a dog at the top right, in any image; `hold` makes it wait."""

    classes = ("__background__", "cat", "dög")
    score = 0.5

    def __init__(self):
        self.hold, self.busy = threading.Event(), threading.Event()
        self.hold.set()

    def coco(self, image):
        self.busy.set()
        self.hold.wait(HUNG)
        height, width = image.shape[:2]
        left, corner = np.zeros((2, height, width), bool)
        left[:, :width // 3] = True
        corner[:height // 2, width // 2:] = True
        if image[0, 0].tolist() == [0, 0, 255]:
            raise RuntimeError("red")
        return [{"category_id": number, "category_name": name, "score": score, "bbox": box,
                 "segmentation": run_lengths.encode(mask)} for number, name, score, box, mask in
                [(1, "cat", 0.9, [0, 0, width // 3, height], left),
                 (2, "dög", 0.3, [width // 2, 0, width // 2, height // 2], corner)]]


def png(color=(9, 90, 200), shape=(40, 60)) -> bytes:
    return cv2.imencode(".png", np.full((*shape, 3), color, np.uint8))[1].tobytes()


@contextmanager
def served(segmenter, limits=None):
    """The address of a server in a thread."""
    server = uvicorn.Server(uvicorn.Config(create_app(segmenter, limits), log_level="error"))
    with socket.create_server(("127.0.0.1", 0)) as place:
        thread = threading.Thread(target=server.run, args=([place],), daemon=True)
        thread.start()
        until(lambda: server.started or not thread.is_alive())
        assert server.started
        try:
            yield f"http://127.0.0.1:{place.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def until(true):
    end = time.monotonic() + HUNG
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def waiting(address):
    return httpx.get(f"{address}/health", timeout=HUNG).json()["waiting"]


@pytest.fixture(scope="module")
def address():
    with served(Fake(), Limits(megabytes=1, megapixels=0.01)) as address:
        yield address


def ask(address, content, name="a.png", **params):
    return httpx.post(f"{address}/segment", files={"image": (name, content)}, params=params, timeout=HUNG)


def test_an_answer_is_cocos(address):
    answer = ask(address, png()).json()
    assert (answer["height"], answer["width"], answer["classes"]) == (40, 60, ["cat", "dög"])
    cat, dog = answer["instances"]
    assert (cat["category_id"], cat["category_name"], cat["score"]) == (1, "cat", 0.9)
    assert cat["bbox"] == [0, 0, 20, 40] and dog["category_name"] == "dög"
    mask = codes.decode(cat["segmentation"])
    assert mask.shape == (40, 60) and mask[:, :20].all() and not mask[:, 20:].any()
    assert len(ask(address, png(), score=0.5).json()["instances"]) == 1


@pytest.mark.parametrize("content, name, params, status, said", [
    (b"no image", "a.txt", {}, 400, "a.txt: not a decodable image"),
    (b"", "empty.png", {}, 400, "empty.png"),
    (png()[:60], "cut.png", {}, 400, "cut.png"),
    (png(shape=(200, 200)), "large.png", {}, 400, "large.png: an image of 200 x 200 pixels; up to 10000 are read"),
    (bytes(2_000_000), "heavy.png", {}, 413, "more than 1 MB"),
    (bytes(15_000_000), "heavier.png", {}, 413, "more than 1 MB"),
    (png(), "a.png", {"score": "much"}, 422, "score"),
    (png(), "a.png", {"score": 7}, 422, "score")])
def test_a_bad_request_is_told_what_is_wrong(address, content, name, params, status, said):
    answer = ask(address, content, name, **params)
    assert answer.status_code == status and said in answer.text
    assert httpx.get(f"{address}/health").json()["status"] == "ok"


def test_a_request_that_does_not_say_its_length_is_bounded(address):
    for blocks in (30, 150):                    # more than the sockets hold between them
        body = (bytes(100_000) for _ in range(blocks))
        answer = httpx.post(f"{address}/segment", content=body, headers={
            "Content-Type": "multipart/form-data; boundary=x"})
        assert answer.status_code in (400, 413)
    assert httpx.post(f"{address}/segment").status_code == 422


def test_description_and_counters(address):
    paths = httpx.get(f"{address}/openapi.json").json()["paths"]
    assert {"/segment", "/health", "/metrics"} <= set(paths)
    assert {"400", "413", "503"} <= set(paths["/segment"]["post"]["responses"])

    def number():
        return int(re.search(r'result="segmented"} (\d+)', httpx.get(f"{address}/metrics").text)[1])

    before = number()
    ask(address, png())
    assert number() == before + 1


def test_what_fails_does_not_spoil_others():
    """Three that wait go to the net together; one of them is red."""
    fake = Fake()
    fake.hold.clear()
    with served(fake) as address, ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(ask, address, png())]
        assert fake.busy.wait(HUNG)
        jobs += [pool.submit(ask, address, content) for content in (png((0, 0, 255)), png(), png())]
        until(lambda: waiting(address) == 3)
        fake.hold.set()
        assert [job.result().status_code for job in jobs] == [200, 500, 200, 200]


def test_a_full_queue_asks_to_come_later():
    fake = Fake()
    fake.hold.clear()
    with served(fake, Limits(waiting=2, batch=3)) as address, ThreadPoolExecutor(8) as pool:
        first = pool.submit(ask, address, png())
        assert fake.busy.wait(HUNG)
        jobs = [pool.submit(ask, address, png()) for _ in range(5)]
        late = [job.result() for job in islice(as_completed(jobs, HUNG), 3)]      # while it holds
        fake.hold.set()
        assert [answer.status_code for answer in late] == [503] * 3
        assert sorted(job.result().status_code for job in [first, *jobs]) == [200] * 3 + [503] * 3
        assert late[0].headers["retry-after"] == "5" and "try again" in late[0].text


def decode(content, name):
    if not content:
        raise ValueError(name)
    return np.zeros((len(content), 1, 3))


def test_a_worker_refuses_when_full():
    hold = threading.Event()
    worker = Worker(decode, lambda images: hold.wait(HUNG) and [[]] * len(images), limit=1, batch=1)
    first = worker.ask(b"1", "a")
    until(lambda: not worker.waiting)
    second = worker.ask(b"22", "b")
    with pytest.raises(Full):
        worker.ask(b"1", "c")
    hold.set()
    assert first.result(HUNG) == ((1, 1, 3), []) and second.result(HUNG) == ((2, 1, 3), [])
    assert worker.counts["refused"] == 1


def test_those_that_wait_go_to_the_net_together_and_are_decoded_then():
    hold, decoded, sizes = threading.Event(), [], []

    def noted(content, name):
        decoded.append(name)
        return decode(content, name)

    def segment(images):
        sizes.append(len(images))
        hold.wait(HUNG)
        return [[]] * len(images)

    worker = Worker(noted, segment, limit=9, batch=3)
    answers = [worker.ask(b"1", "first")]
    until(lambda: sizes)
    answers += [worker.ask(content, str(n)) for n, content in enumerate((b"1", b"", b"1", b"1"))]
    assert decoded == ["first"]                 # what waits takes the memory of its file
    hold.set()
    with pytest.raises(ValueError, match="1"):
        answers[2].result(HUNG)
    assert answers[4].result(HUNG) == ((1, 1, 3), []) and sizes == [1, 2, 1]
    assert worker.counts == {"segmented": 4, "failed": 1}


def most_held(anew=False) -> int:
    """The most memory in kilobytes that this process has held; `anew`: counted from now on."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@linux
def test_waiting_photographs_are_not_kept_decoded():
    """Sixteen of 48 megapixels would be 2.3 GB; too many pixels are refused by the header."""
    whole = cv2.imencode(".png", np.zeros((6000, 8000), np.uint8))[1].tobytes()
    fake = Fake()
    fake.coco = lambda image: []
    with served(fake) as address, ThreadPoolExecutor(16) as pool:
        ask(address, whole)
        before = most_held(anew=True)
        answers = list(pool.map(lambda _: ask(address, whole).status_code, range(16)))
    assert answers == [200] * 16
    assert most_held() - before < 1_000_000        # four together, as they go to the net, are 600 MB


@linux
def test_sixteen_clients_at_once(tiny_model, tmp_path, tiny_scenes):
    """With a net: none fails, all see the same, and memory stays what it was."""
    import caffe
    from mnc.segmenter import Segmenter

    caffe.set_random_seed(3)
    weights = tmp_path / "tiny.caffemodel.h5"
    caffe.Net(str(tiny_model / "train.prototxt"), caffe.TRAIN).save_hdf5(str(weights))
    segmenter = Segmenter(tiny_model / "test.prototxt", weights,
                          config=ROOT / "experiments/cfgs/Mini/mnc_5stage.yml",
                          settings={"TEST.RPN_POST_NMS_TOP_N": 10})
    content = min((tiny_scenes / "img").glob("*.jpg")).read_bytes()
    with served(segmenter) as address, ThreadPoolExecutor(16) as pool:
        def work(_):
            return ask(address, content, score=0)

        most_held(anew=True)
        answers = list(pool.map(work, range(16)))
        memory = most_held()
        answers += list(pool.map(work, range(48)))
        grown = most_held() - memory
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1 and answers[0].json()["instances"]
    assert grown < 100_000                      # kilobytes


SCRIPT = """
<script>
(async () => {
  const paper = document.createElement("canvas");
  paper.width = 60; paper.height = 40;
  const blob = await new Promise(done => paper.toBlob(done));
  await segment(new File([blob], "my photo.png", {type: "image/png"}));
  const found = {sum: answer.instances.map(e => e.mask.on.reduce((a, b) => a + b, 0)),
                 edge: [inside(answer.instances[0].mask, 19, 0), inside(answer.instances[0].mask, 20, 0)],
                 kept: answer.instances.map(e => e.mask.on.length),
                 labels: $("classes").innerText, size: [$("canvas").width, $("canvas").height]};
  const at = (x, y) => [...$("canvas").getContext("2d").getImageData(x, y, 1, 1).data];
  found.tinted = [at(10 * 12 + 5, 20 * 12 + 5), at(27 * 12, 30 * 12)];
  found.shown = shown().length;
  $("score").value = 0.2; $("score").oninput();
  found.more = shown().length;
  document.querySelector("#classes input").click();
  found.less = shown().map(e => e.category_name);
  document.querySelector("#classes input").click();
  const box = $("canvas").getBoundingClientRect();
  $("canvas").onclick({clientX: box.left + box.width * 50 / 60, clientY: box.top + box.height * 5 / 40});
  found.about = $("about").textContent;
  const saved = [];
  window.save = (blob, ending) => saved.push(ending + blob.type);
  save = window.save;
  $("json").click(); $("png").click();
  while (saved.length < 2) await new Promise(done => setTimeout(done, 50));
  found.saved = saved;
  await segment(new File(["nothing"], "bad.png", {type: "image/png"}));
  found.error = $("error").textContent;
  const tiff = Uint8Array.from(atob("TIFF"), c => c.charCodeAt(0));
  await segment(new File([tiff], "a.tif", {type: "image/tiff"}));
  found.grey = [...$("canvas").getContext("2d").getImageData($("canvas").width - 9, $("canvas").height - 9, 1, 1).data];
  found.told = $("error").textContent;
  found.knows = $("knows").textContent;
  fetch("EARS", {method: "POST", mode: "no-cors", body: JSON.stringify(found)});
})();
</script>
"""


class Told(http.server.BaseHTTPRequestHandler):
    """What the page sends at its end: the time a browser takes is not known beforehand."""

    def do_POST(self):
        self.server.found.put(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *words):
        pass


@contextmanager
def listening():
    """(address to send to, queue of what was sent)"""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Told)
    server.found = queue.Queue()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", server.found
    finally:
        server.shutdown()
        server.server_close()


def test_the_page_in_a_browser(browser, tmp_path, monkeypatch):
    page = tmp_path / "page.html"
    tiff = b64encode(cv2.imencode(".tif", np.full((40, 60, 3), 7, np.uint8))[1].tobytes()).decode()
    monkeypatch.setattr(serving, "PAGE", page)
    with served(Fake()) as address, listening() as (ears, told):
        page.write_text((ROOT / "lib/mnc/serving/page.html").read_text(encoding="utf-8")
                        + SCRIPT.replace("EARS", ears).replace("TIFF", tiff), encoding="utf-8")
        with subprocess.Popen([*browser, "--remote-debugging-port=0", address],
                              stderr=subprocess.DEVNULL) as shown:
            try:
                found = json.loads(told.get(timeout=HUNG))
            finally:
                shown.terminate()
    assert found["sum"] == [20 * 40, 30 * 20] and found["edge"] == [True, False] and found["size"] == [720, 480]
    assert found["tinted"][0][:3] != [0, 0, 0] and found["tinted"][1][:3] == [0, 0, 0]
    assert (found["shown"], found["more"], found["less"]) == (1, 2, ["dög"])
    assert found["about"].startswith("dög\nscore 0.300") and "600 pixels" in found["about"]
    assert sorted(found["saved"]) == [".jsonapplication/json", ".pngimage/png"]
    assert "bad.png: not a decodable image" in found["error"]
    assert found["kept"] == [20 * 40, 30 * 20]          # masks take the memory of their boxes
    assert found["grey"] == [136, 136, 136, 255] and "cannot show such a file" in found["told"]
    assert found["knows"] == "this net knows: cat, dög"


def test_the_command_serves_what_the_arguments_name(monkeypatch, capsys):
    from mnc import cli

    seen = {}

    def run(server, sockets):
        seen.update(title=server.config.app.title, address=sockets[0].getsockname())
        sockets[0].close()

    monkeypatch.setattr(uvicorn.Server, "run", run)
    assert cli.main(["serve", "--cpu", "--port", "0", "--set", "TEST.MAX_PER_IMAGE", "5"]) == 0
    host, port = seen["address"]
    assert host == "127.0.0.1" and seen["title"] == "mnc serve"
    assert f"http://127.0.0.1:{port}/" in capsys.readouterr().out


def test_a_port_that_is_taken_is_said_before_the_net_is_loaded(monkeypatch, capsys):
    from mnc import cli

    monkeypatch.setattr("mnc.segmenter.Segmenter", None)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert cli.main(["serve", "--cpu", "--port", str(port)]) == 1
    assert f"cannot listen on 127.0.0.1, port {port}: Address already in use" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["serve", "--port", "65536"])
    assert "a port from 0 to 65535" in capsys.readouterr().err
