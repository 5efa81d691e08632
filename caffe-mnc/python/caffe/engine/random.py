"""The engine's random numbers: one generator a device, seeded together, saved in snapshots."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

_generators: dict[str, torch.Generator] = {}
_seed: int | None = None


def generator(device: torch.device | str = "cpu") -> torch.Generator:
    """The generator of `device`. Fillers, Dropout and data layers draw from it and no other."""
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    key = str(device)
    if key not in _generators:
        _generators[key] = torch.Generator(device=key)
        if _seed is None:
            _generators[key].seed()
        else:
            _generators[key].manual_seed(_seed)
    return _generators[key]


def set_random_seed(seed: int) -> None:
    """Start every device's generator anew from `seed`."""
    global _seed
    _seed = int(seed)
    for each in _generators.values():
        each.manual_seed(_seed)


def diverge(number: int) -> None:
    """Go on with other random numbers, of all generators, than the same program elsewhere.

    0: with the same.
    """
    global _seed
    if not number:
        return
    if _seed is not None:
        _seed = (_seed + number) % 2**63
    for each in _generators.values():
        each.manual_seed((each.initial_seed() + number) % 2**63)
    torch.manual_seed((torch.initial_seed() + number) % 2**63)
    state: Any = np.random.get_state()
    np.random.seed((int(state[1][0]) + number) % 2**32)
    random.seed(f"{random.getrandbits(64)} {number}")


def get_state() -> dict[str, np.ndarray]:
    """The state of every generator in use, as arrays of bytes.

    The global ones of numpy, of torch ("torch/DEVICE") and of Python's `random` are among them,
    for Python layers draw from those.

    Each of the shape (bytes,).
    """
    states = {device: each.get_state().numpy().copy() for device, each in _generators.items()}
    states["torch/cpu"] = torch.get_rng_state().numpy().copy()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states |= {f"torch/cuda:{i}": each.numpy().copy()
                   for i, each in enumerate(torch.cuda.get_rng_state_all())}
    version, numbers, cached = random.getstate()
    return {**states, "numpy": _numpy_state(),
            "python": _json_bytes([version, list(numbers), cached])}


def set_state(states: dict[str, np.ndarray]) -> None:
    """Put back what `get_state` returned; devices that are absent here are left out.

    Each of the shape (bytes,).
    """
    for name, state in states.items():
        if name == "numpy":
            np.random.set_state(tuple(_from_json(state)))
        elif name == "python":
            version, numbers, cached = _from_json(state)
            random.setstate((version, tuple(numbers), cached))
        elif _exists(name.removeprefix("torch/")):
            values = torch.from_numpy(np.array(state, dtype=np.uint8))
            if name == "torch/cpu":
                torch.set_rng_state(values)
            elif name.startswith("torch/"):
                torch.cuda.set_rng_state(values, name.removeprefix("torch/"))
            else:
                generator(name).set_state(values)


@contextmanager
def unchanged() -> Iterator[None]:
    """Whatever is drawn in the block, what comes after it is drawn as if nothing had been."""
    before = get_state()
    try:
        yield
    finally:
        set_state(before)


def _exists(device: str) -> bool:
    kind, _, index = device.partition(":")
    return kind != "cuda" or int(index) < torch.cuda.device_count()


def _numpy_state() -> np.ndarray:
    """(algorithm, keys, position, has_gauss, cached_gaussian) as bytes of JSON"""
    algorithm, keys, *rest = np.random.get_state()
    return _json_bytes([algorithm, np.asarray(keys).tolist(), *rest])


def _json_bytes(values: list[Any]) -> np.ndarray:
    return np.frombuffer(json.dumps(values).encode(), dtype=np.uint8)


def _from_json(state: np.ndarray) -> list[Any]:
    return json.load(io.BytesIO(np.asarray(state, np.uint8).tobytes()))
