"""Nets of other programs as prototxt and weights: torch's classifiers by name or by file,
ONNX models.

    folding.py      a convolution with the normalisation before or behind it in its weights
    written.py      a net that is being written, layer by layer, with its parameters
    releases.py     VGG and ResNet as torchvision publishes them, under Caffe's names
    sources.py      where their weights come from: files, torchvision, a package

    onnx_graph.py       an ONNX file: nodes, constants, shapes
    onnx_net.py         a net of it; how each operator is written is in
    onnx_operators.py   those that compute, and
    onnx_shapes.py      those that move values
    onnx_check.py       it and the file, run side by side
"""
