"""Names of files that files give: they stay in the folder that they are said to be in."""

from __future__ import annotations

import os


def inside(folder: str | os.PathLike[str], name: str) -> str:
    """folder/name; ValueError if the name is absolute, leaves the folder or can be none of a file.

    The names decide, not what lies behind links: a link in the folder was put there by its owner.
    """
    if not name or "\0" in name:
        raise ValueError(f"{name!r} is no name of a file")
    if os.path.isabs(name) or os.path.splitdrive(name)[0]:
        raise ValueError(f'"{name}" is an absolute path; names are taken in {os.fspath(folder)}')
    if os.path.normpath(name).split(os.sep)[0] == os.pardir:
        raise ValueError(f'"{name}" leaves the folder {os.fspath(folder)}')
    return os.path.join(folder, name)


def below_root(root: str, name: str) -> str:
    """root + name, as root_folder of data layers is meant; ValueError if that leaves the root.

    Without a root any path may be named.
    """
    if "\0" in name:
        raise ValueError(f"{name!r} is no name of a file")
    if not root or os.pardir not in name:
        return root + name
    top, path = os.path.dirname(root), root + name
    climbs = os.path.relpath(os.path.normpath(path), os.path.normpath(top or os.curdir))
    if climbs.split(os.sep)[0] == os.pardir:
        raise ValueError(f'"{name}" leaves the root folder {root}')
    return path
