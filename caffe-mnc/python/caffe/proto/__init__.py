"""The file formats of Caffe as protobuf messages: `from caffe.proto import caffe_pb2`."""

import sys

import caffe.engine  # noqa: F401 (refuses to be mixed with another caffe)

try:
    from caffe.proto import caffe_pb2 as caffe_pb2
except TypeError as error:      # protobuf takes each message name once in a process
    _others = [f"{name} ({getattr(module, '__file__', '?')})"
               for name, module in list(sys.modules.items())
               if getattr(vars(module).get("DESCRIPTOR"), "package", None) == "caffe"]
    raise ImportError(f"another copy of Caffe's messages is loaded in this process already: "
                      f"{', '.join(_others) or 'unknown'}. Import caffe first and use "
                      f"caffe.proto.caffe_pb2 for both ({error})") from error
