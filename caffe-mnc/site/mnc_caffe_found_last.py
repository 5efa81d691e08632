"""Where another project's folder is `caffe`, modules that it lacks are looked for in ours.

Ours then raise the ImportError that names both folders (caffe/engine/compat/other_caffe.py), in
place of `No module named 'caffe._caffe'`. Run when Python starts (mnc_caffe.pth), asked after all
other finders.
"""

import os
import sys

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "caffe")


class FoundLast:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.rpartition(".")[0] != "caffe":
            return None
        from importlib.machinery import PathFinder

        return PathFinder.find_spec(name, [FOLDER])


sys.meta_path.append(FoundLast)
