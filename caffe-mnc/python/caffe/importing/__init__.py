"""Nets of other programs as prototxt and weights: torch's classifiers by name or by file.

    folding.py      a convolution with the normalisation before or behind it in its weights
    written.py      a net that is being written, layer by layer, with its parameters
    releases.py     VGG and ResNet as torchvision publishes them, under Caffe's names
"""
