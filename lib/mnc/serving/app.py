"""What `mnc serve` runs: a page, POST /segment, /health, /metrics, /openapi.json.

Apart from mnc.commands.serve, which calls it, because it needs the packages of the extra [serve].
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
from fastapi import FastAPI, File, HTTPException, Query, UploadFile
from fastapi.responses import HTMLResponse, PlainTextResponse
from pydantic import BaseModel, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from caffe.extend import check_image_size, decode_image
from mnc.serving.worker import Full, Worker

PAGE = Path(__file__).parent / "page.html"
PATIENCE = 16               # times the most bytes of a request: so many are read, and not kept
LEAST_SCORE = 0.05          # of what is answered where nothing else is asked for
REFUSALS: dict[int | str, dict[str, object]] = {
    400: {"description": "no image, or too many pixels"},
    413: {"description": "too many bytes"},
    503: {"description": "too many images wait; try again later"}}


@dataclass(frozen=True)
class Limits:
    """What a server takes."""

    waiting: int = 32               # images in the queue
    megabytes: float = 20           # of a request
    megapixels: float = 50          # of an image
    batch: int = 4                  # images given to the net together


class Model(Protocol):
    """What is needed of mnc.segmenter's Segmenter."""

    score: float

    @property
    def classes(self) -> Sequence[str]: ...

    def coco(self, image: np.ndarray) -> list[dict[str, object]]:
        """What is seen in an image (H, W, 3) BGR, best score first: entries as of `Found`."""


class Found(BaseModel):
    """An instance, as in COCO's result files."""

    category_id: int = Field(description="1 and up: the place in the names of the classes")
    category_name: str
    score: float
    bbox: list[float] = Field(description="x, y, width, height in pixels of the image")
    segmentation: dict[str, object] = Field(description="COCO's run-length code: size, counts")


class Answer(BaseModel):
    """What is seen in an image."""

    height: int
    width: int
    classes: list[str]
    instances: list[Found]


def create_app(segmenter: Model, limits: Limits | None = None) -> FastAPI:
    """The application around a segmenter, which it uses alone."""
    bounds = limits or Limits()
    service = Service(segmenter, bounds)
    app = FastAPI(title="mnc serve", docs_url=None, redoc_url=None, version=_version(),
                  description="Instances in images: POST one to /segment.")
    app.add_middleware(Bounded, most=int(bounds.megabytes * 1e6))
    app.get("/", response_class=HTMLResponse, include_in_schema=False)(service.page)
    app.post("/segment", responses=REFUSALS)(service.segment)
    app.get("/health")(service.health)
    app.get("/metrics", response_class=PlainTextResponse)(service.metrics)
    return app


class Service:
    """The answers to requests."""

    def __init__(self, segmenter: Model, limits: Limits) -> None:
        segmenter.score = LEAST_SCORE
        self._limits = limits
        self._classes = [str(name) for name in segmenter.classes[1:]]
        self._worker = Worker(partial(self._checked, decode_image),
                              lambda images: list(map(segmenter.coco, images)),
                              limits.waiting, limits.batch)

    def page(self) -> str:
        """The page to look at."""
        return PAGE.read_text(encoding="utf-8")

    async def segment(
            self, image: Annotated[UploadFile, File(description="JPEG, PNG, WebP, TIFF, BMP")],
            score: Annotated[float, Query(ge=0, le=1, description="least score")] = LEAST_SCORE,
    ) -> Answer:
        """The instances of an image, best score first.

        Raises HTTPException: 400, 503.
        """
        content, name = await image.read(), image.filename or "the image"
        await asyncio.to_thread(self._checked, check_image_size, content, name)  # before it waits
        try:
            shape, found = await asyncio.wrap_future(self._worker.ask(content, name))
        except Full:
            raise HTTPException(503, f"{self._limits.waiting} images wait already; try again later",
                                {"Retry-After": "5"}) from None
        kept = [each for each in map(Found.model_validate, found) if each.score >= score]
        return Answer(height=shape[0], width=shape[1], classes=self._classes, instances=kept)

    def _checked(self, read: Callable[..., Any], content: bytes, name: str) -> Any:
        """What `read` makes of a file; HTTPException 400 for no image and for too many pixels."""
        try:
            return read(content, name, most=self._limits.megapixels * 1e6)
        except (ValueError, MemoryError) as error:
            raise HTTPException(400, str(error) or f"{name}: too large") from None

    def health(self) -> dict[str, object]:
        """Whether it works, and on what."""
        return {"status": "ok", "classes": self._classes,
                "waiting": self._worker.waiting}

    def metrics(self) -> str:
        """Counters in Prometheus' form."""
        counts = self._worker.counts
        lines = [f'mnc_images_total{{result="{kind}"}} {counts[kind]}'
                 for kind in ("segmented", "failed", "refused")]
        return "\n".join(["# TYPE mnc_images_total counter", *lines,
                          "# TYPE mnc_seconds_total counter",
                          f"mnc_seconds_total {self._worker.seconds:.3f}",
                          "# TYPE mnc_waiting gauge", f"mnc_waiting {self._worker.waiting}", ""])


class Bounded:
    """Requests of more bytes than `most` end with 413, before they are kept anywhere."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._text = f"the request has more than {most / 1e6:g} MB"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if said.isdigit() and int(said) > self._most:
            await self._read_on(receive)
            await PlainTextResponse(self._text, 413, {"Connection": "close"})(scope, receive, send)
            return
        came = 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > self._most:
                if message.get("more_body"):
                    await self._read_on(receive)
                raise HTTPException(413, self._text)
            return message

        await self._app(scope, counted, send)

    async def _read_on(self, receive: Receive) -> None:
        """Throw away what still comes: a client that is cut off while it sends sees no answer.

        Of far too much even that ends.
        """
        came, more = 0, True
        while more and came < PATIENCE * self._most:
            message = await receive()
            came += len(message.get("body", b""))
            more = message.get("more_body", False)


def _version() -> str:
    try:
        return metadata.version("mnc-caffe")
    except metadata.PackageNotFoundError:
        return "0"

