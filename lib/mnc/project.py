"""Files that come with the program: nets, their settings, the bundled weights, the demo's images.

In a checkout they lie where they are edited (models/, experiments/, data/); an installed package
carries copies, in the same layout, in its folder `files`.
"""

from __future__ import annotations

from pathlib import Path

from mnc.config import cfg

INSTALLED = Path(__file__).parent / "files"


def project_file(*parts: str) -> Path:
    """The file or folder of that path below cfg.ROOT_DIR, or else the copy that was installed.

    Where there is neither, the path below ROOT_DIR: what opens it says that it is missing.
    """
    here, installed = Path(cfg.ROOT_DIR, *parts), INSTALLED.joinpath(*parts)
    return installed if installed.exists() and not here.exists() else here
