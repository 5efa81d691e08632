"""Caffe Python layers of MNC, named by the nets' prototxts.

Thin adapters between blobs and the functions of `mnc`.
"""
