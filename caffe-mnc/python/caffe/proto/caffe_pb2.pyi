"""Protobuf makes the messages when they are imported, and checks their fields itself."""

from typing import Any

def __getattr__(name: str) -> Any: ...
