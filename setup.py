"""One distribution, three packages from two source folders (metadata: pyproject.toml)."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
SOURCES = {"caffe": "caffe-mnc/python", "mnc": "lib", "pylayer": "lib"}


def packages():
    return [name for top, folder in SOURCES.items()
            for name in find_packages(str(ROOT / folder), include=[top, f"{top}.*"])]


setup(
    packages=packages(),
    package_dir={top: f"{folder}/{top}" for top, folder in SOURCES.items()},
    package_data={"caffe.proto": ["*.proto"]},
)
