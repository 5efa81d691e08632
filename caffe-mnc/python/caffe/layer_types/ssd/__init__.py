"""The layers of SSD (weiliu89/caffe). Importing the package registers them.

Boxes are (xmin, ymin, xmax, ymax) in shares of the image's width and height; their width is
xmax - xmin, without the 1 that boxes of pixels have.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
