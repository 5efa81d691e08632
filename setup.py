"""One distribution, three packages from two source folders (metadata: pyproject.toml)."""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel
from setuptools.errors import CompileError

ROOT = Path(__file__).parent
KERNELS = "caffe-mnc/src/ops"
KERNEL_DATA = "caffe.ops.src"       # where CUDA kernels are installed: compiled when first used
START_FILES = ("caffe-mnc/site/mnc_caffe.pth", "caffe-mnc/site/mnc_caffe_found_last.py")
# what nets, commands and the demo read; mnc.project finds it
PROJECT_FILES = ("models/*/*/*.prototxt", "models/*/*/*.caffemodel.h5", "experiments/cfgs/**/*.yml",
                 "data/demo/*")
SOURCES = {"caffe": "caffe-mnc/python", "mnc": "lib", "pylayer": "lib"}


def packages():
    found = [name for top, folder in SOURCES.items()
             for name in find_packages(str(ROOT / folder), include=[top, f"{top}.*"])]
    return [*found, KERNEL_DATA]


def kernels():
    """The C++ kernels. Without them (no compiler) everything runs, on the torch references."""
    linux = sys.platform.startswith("linux")
    openmp = ["-fopenmp"] if linux else []
    sources = sorted(str(path.relative_to(ROOT)) for path in (ROOT / KERNELS).glob("*.cpp"))
    extension = Extension(
        "caffe.ops._native",
        ["caffe-mnc/python/caffe/ops/_native.pyx", *sources],
        include_dirs=[KERNELS],
        depends=sorted(str(path.relative_to(ROOT)) for path in (ROOT / KERNELS).glob("*.hpp")),
        language="c++",
        # no contraction: a product and a sum round twice, as they do in the references
        extra_compile_args=["-std=c++17", "-O3", "-ffp-contract=off", *openmp],
        extra_link_args=openmp,
    )
    built, = cythonize([extension], build_dir="build", language_level=3)
    built.optional = True       # cythonize would drop it
    return built


class BuildKernels(build_ext):
    """A compiler that is not there is like one that fails: what is optional is left out."""

    def build_extension(self, ext):
        try:
            super().build_extension(ext)
        except OSError as problem:
            raise CompileError(str(problem)) from problem


class BuildPython(build_py):
    """Beside the packages, the project's files and what Python runs when it starts."""

    def run(self):
        super().run()
        for source, target in self._others().items():
            self.mkpath(str(target.parent))
            self.copy_file(str(source), str(target))

    def get_outputs(self, include_bytecode=True):
        return [*super().get_outputs(include_bytecode), *map(str, self._others().values())]

    def _others(self):
        """{source: target}; none of an editable install, which finds them in the checkout."""
        if self.editable_mode:
            return {}
        files = Path(self.build_lib, "mnc", "files")
        found = {path: files / path.relative_to(ROOT)
                 for pattern in PROJECT_FILES for path in sorted(ROOT.glob(pattern))}
        return {**{ROOT / file: Path(self.build_lib, Path(file).name) for file in START_FILES},
                **found}


class EditableInstall(editable_wheel):
    """A finder serves editable installs, and Python asks it last: a folder `caffe` that is no
    package (old projects have caffe/imagenet) would hide ours. So both source folders are path
    entries, too.
    """

    def _select_strategy(self, *args):
        strategy = super()._select_strategy(*args)
        finder = getattr(strategy, "get_implementation", None)
        if finder:
            folders = dict.fromkeys(str(ROOT.resolve() / folder) for folder in SOURCES.values())
            paths = ("mnc_caffe_sources.pth", os.fsencode("\n".join([*folders, ""])))
            strategy.get_implementation = lambda: [*finder(), paths]
        return strategy


setup(
    packages=packages(),
    cmdclass={"build_ext": BuildKernels, "build_py": BuildPython,
              "editable_wheel": EditableInstall},
    ext_modules=[kernels()],
    package_dir={**{top: f"{folder}/{top}" for top, folder in SOURCES.items()},
                 KERNEL_DATA: KERNELS},
    package_data={"caffe": ["*.html"], "mnc.serving": ["*.html"], "caffe.proto": ["*.proto"],
                  KERNEL_DATA: ["*.cu", "*.hpp"]},
)
