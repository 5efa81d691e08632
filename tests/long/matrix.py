#!/usr/bin/env python3
"""The tests under other versions of what we stand on: python tests/long/matrix.py [ROW ...]

A row is the oldest or the newest releases that pyproject.toml allows, the newest torch, or another Python. Each gets an
environment in a temporary folder, removed afterwards: on the Python that runs this, with its packages
(torch among them, which is large) below those that the row names; on another Python, with all.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OLDEST = ("numpy==1.26.*", "scipy==1.11.*", "h5py==3.9.*", "opencv-python-headless==4.8.*",
          "scikit-image==0.20.*", "pillow==10.0.*", "pycocotools==2.0.7", "protobuf==4.21.*",
          "easydict==1.10", "pyyaml==6.0", "matplotlib==3.7.*", "lmdb==1.4.*")
NAMES = ("numpy", "scipy", "h5py", "opencv-python-headless", "scikit-image", "pillow", "pycocotools",
         "protobuf", "pyyaml", "matplotlib", "lmdb")
NEWEST = (*(f"{name}" for name in NAMES if name != "protobuf"), "protobuf<8")
ROWS = {"oldest": (sys.executable, OLDEST), "newest": (sys.executable, NEWEST),
        "torch": (sys.executable, ("torch",)),
        **{name: (shutil.which(name), (*NEWEST, "torch>=2.6", "tqdm", "easydict", "pytest",
                                       "hypothesis"))
           for name in ("python3.10", "python3.11", "python3.12", "python3.13")}}
TESTS = ("tests/caffe", "tests/mnc", "tests/test_imports.py")
MODULES = "numpy scipy h5py cv2 skimage PIL google.protobuf matplotlib torch"
VERSIONS = ("import sys; print('Python', sys.version.split()[0]); "
            f"[print(name, getattr(__import__(name, fromlist=['x']), '__version__', '?')) for name in "
            f"{MODULES.split()!r}]")


def prepare(python: str, packages: tuple[str, ...], folder: Path) -> Path:
    """The Python of a new environment with the packages."""
    subprocess.run([python, "-m", "venv", folder], check=True)
    own = folder / "bin/python"
    if python == sys.executable:
        lies = sysconfig.get_paths()["purelib"]
        site = subprocess.run([own, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
                              check=True, capture_output=True, text=True).stdout.strip()
        (Path(site) / "below.pth").write_text(lies + "\n")
    subprocess.run([own, "-m", "pip", "install", "-q", "--upgrade", "--prefer-binary",
                    *packages], check=True, env={**os.environ, "PIP_CONSTRAINT": os.devnull})
    return own


def run(name: str, tests: list[str]) -> bool:
    python, packages = ROWS[name]
    if python is None:
        print(f"{name}: not on this machine", flush=True)
        return True
    folder = Path(tempfile.mkdtemp(prefix="matrix"))
    try:
        own = prepare(python, packages, folder)
        env = {**os.environ, "PYTHONPATH": f"{ROOT}/caffe-mnc/python:{ROOT}/lib", "OMP_NUM_THREADS": "1"}
        versions = subprocess.run([own, "-c", VERSIONS], env=env, capture_output=True, text=True)
        print(f"{name}: {', '.join((versions.stdout or versions.stderr[-300:]).splitlines())}", flush=True)
        return subprocess.run([own, "-m", "pytest", "-q", *tests], cwd=ROOT, env=env).returncode == 0
    except subprocess.CalledProcessError as error:
        print(f"{name}: {error}", flush=True)
        return False
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)} (default: oldest, newest)")
    p.add_argument("--tests", nargs="+", default=list(TESTS), help="(default: those of caffe and mnc)")
    args = p.parse_args()
    good = {name: run(name, args.tests) for name in args.rows or ("oldest", "newest")}
    print("; ".join(f"{name}: {'passed' if passed else 'FAILED'}" for name, passed in good.items()))
    return 0 if all(good.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
