"""The layers of YOLO: v2 of gklz1982/caffe-yolov2 and MobileNet-YOLO, v3 of MobileNet-YOLO.

Boxes are (centre x, centre y, width, height) in shares of the image.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
