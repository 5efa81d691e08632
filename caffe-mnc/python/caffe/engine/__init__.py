"""The engine: blobs, the layer contract, net building and running, solvers, formats of files."""

from caffe.engine.compat import other_caffe

other_caffe.refuse()        # every module of ours comes by here
