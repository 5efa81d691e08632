"""The engine: blobs, the layer contract, net building and running, solvers, formats of files."""
