"""upgrade_{net_proto_text,net_proto_binary,solver_proto_text}: old files made new."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf import text_format

from caffe.commands.flags import parse
from caffe.commands.registration import UsageError, entry
from caffe.engine import log
from caffe.engine.errors import PrototxtError
from caffe.engine.formats.atomic_file import atomic_path
from caffe.engine.formats.extensions import as_written
from caffe.engine.formats.prototxt import read_message
from caffe.engine.formats.upgrade import upgrade, upgrade_solver
from caffe.engine.formats.weights import read_caffemodel
from caffe.proto import caffe_pb2


@entry("upgrade_net_proto_text")
def net_text(argv: Sequence[str]) -> int:
    """rewrite an old net prototxt in the current form"""
    source, target = two_files(argv, "upgrade_net_proto_text")
    param = upgraded(source, upgrade, read_message(source, caffe_pb2.NetParameter()))
    write(target, as_written(text_format.MessageToString(param)).encode())
    log.info("Wrote upgraded NetParameter text proto to %s", target)
    return 0


@entry("upgrade_net_proto_binary")
def net_binary(argv: Sequence[str]) -> int:
    """rewrite an old .caffemodel in the current form"""
    source, target = two_files(argv, "upgrade_net_proto_binary")
    write(target, upgraded(source, upgrade, read_caffemodel(source)).SerializeToString())
    log.info("Wrote upgraded NetParameter binary proto to %s", target)
    return 0


@entry("upgrade_solver_proto_text")
def solver_text(argv: Sequence[str]) -> int:
    """rewrite an old solver prototxt in the current form"""
    source, target = two_files(argv, "upgrade_solver_proto_text")
    param = upgraded(source, upgrade_solver, read_message(source, caffe_pb2.SolverParameter()))
    write(target, as_written(text_format.MessageToString(param)).encode())
    log.info("Wrote upgraded SolverParameter text proto to %s", target)
    return 0


def two_files(argv: Sequence[str], name: str) -> list[str]:
    usage = f"usage: {name} IN OUT\n\nWrites IN, a file of any age, in the current form to OUT."
    _, words = parse(argv, (), usage)
    if len(words) != 2:
        raise UsageError(f"takes IN and OUT, got {len(words)} names\n\n{usage}")
    return words


def upgraded(source: str, rewrite: Callable[[Any], Any], param: Any) -> Any:
    """`param` in the current form; says if it was so before."""
    try:
        current = rewrite(param)
    except PrototxtError as error:
        raise PrototxtError(f"{source}: {error}") from error
    if current is param:
        log.error("File already in latest proto format: %s", source)
    return current


def write(target: str, content: bytes) -> None:
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)
