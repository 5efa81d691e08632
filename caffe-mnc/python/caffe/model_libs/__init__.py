"""Parts of nets, by the names that scripts of SSD import: `from caffe.model_libs import *`.

Each function adds layers to a NetSpec; a layer's name is its key there.
"""

import os

import caffe
from caffe.model_libs.bodies import ResNet101Body, ResNet152Body, VGGNetBody, ZFNetBody
from caffe.model_libs.files import check_if_exist, make_if_not_exist
from caffe.model_libs.inception import InceptionV3Body
from caffe.model_libs.layers import ConvBNLayer, InceptionTower, ResBody, UnpackVariable
from caffe.model_libs.multibox import CreateAnnotatedDataLayer, CreateMultiBoxHead
from caffe.net_spec import layers as L
from caffe.net_spec import params as P
from caffe.proto import caffe_pb2

__all__ = [
    "ConvBNLayer", "CreateAnnotatedDataLayer", "CreateMultiBoxHead", "InceptionTower",
    "InceptionV3Body", "L", "P", "ResBody", "ResNet101Body", "ResNet152Body", "UnpackVariable",
    "VGGNetBody", "ZFNetBody", "caffe", "caffe_pb2", "check_if_exist", "make_if_not_exist", "os",
]
