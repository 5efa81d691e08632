"""The file formats of Caffe as protobuf messages: `from caffe.proto import caffe_pb2`."""
