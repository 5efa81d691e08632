"""The examples as notebooks: python examples/notebooks.py writes NAME.ipynb from each NAME.py.

A script is made of cells, each after a line `# %%`; after `# %% [markdown]` its comment lines are text.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

HERE = Path(__file__).parent
ABOUT = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
         "language_info": {"name": "python"}}


def examples() -> list[Path]:
    """The scripts that are made of cells."""
    return [path for path in sorted(HERE.glob("*.py")) if path.read_text().startswith("# %%")]


def notebook(script: str) -> dict:
    """The content of an .ipynb, without outputs."""
    cells = []
    for n, (kind, text) in enumerate(re.findall(r"^# %%( \[markdown\])?\n(.*?)(?=^# %%|\Z)", script, re.M | re.S)):
        body = text.strip("\n")
        if kind:
            body = re.sub(r"^# ?", "", body, flags=re.M)
        cell = {"cell_type": "markdown" if kind else "code", "id": f"cell{n}", "metadata": {},
                "source": body.splitlines(keepends=True)}
        cells.append(cell if kind else {**cell, "execution_count": None, "outputs": []})
    return {"cells": cells, "metadata": ABOUT, "nbformat": 4, "nbformat_minor": 5}


def main() -> None:
    for path in examples():
        text = json.dumps(notebook(path.read_text()), indent=1, ensure_ascii=False)
        path.with_suffix(".ipynb").write_text(text + "\n")


if __name__ == "__main__":
    main()
