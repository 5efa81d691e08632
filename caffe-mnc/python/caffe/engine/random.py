"""The engine's random numbers: one generator a device, seeded together, saved in snapshots."""

from __future__ import annotations

import io
import json

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


def get_state() -> dict[str, np.ndarray]:
    """The state of every generator in use, as arrays of bytes.

    numpy's global one is among them, for Python layers draw from it.
    """
    states = {device: each.get_state().numpy().copy() for device, each in _generators.items()}
    return {**states, "numpy": _numpy_state()}


def set_state(states: dict[str, np.ndarray]) -> None:
    """Put back what `get_state` returned; devices that are absent here are left out."""
    for name, state in states.items():
        if name == "numpy":
            _set_numpy_state(state)
        elif _exists(name):
            generator(name).set_state(torch.from_numpy(np.array(state, dtype=np.uint8)))


def _exists(device: str) -> bool:
    kind, _, index = device.partition(":")
    return kind != "cuda" or int(index) < torch.cuda.device_count()


def _numpy_state() -> np.ndarray:
    """(algorithm, keys, position, has_gauss, cached_gaussian) as bytes of JSON"""
    algorithm, keys, *rest = np.random.get_state()
    text = json.dumps([algorithm, np.asarray(keys).tolist(), *rest])
    return np.frombuffer(text.encode(), dtype=np.uint8)


def _set_numpy_state(state: np.ndarray) -> None:
    np.random.set_state(tuple(json.load(io.BytesIO(np.asarray(state, np.uint8).tobytes()))))
