"""Which Caffe this is, for scripts that ask."""

VERSION = "1.0.0"
