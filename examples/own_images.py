# %% [markdown]
# # Instances in images of one's own
# Pictures with polygons, as the labelling tool labelme writes them; a net is fitted to them, trained, measured and looked at.
# 400 iterations of small images take less than a minute; `--iters N` trains longer or shorter.

# %%
import json
import shutil
import sys
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np

from mnc import Segmenter, cli

out = Path("output/examples/own")
shutil.rmtree(out, ignore_errors=True)
random = np.random.default_rng(0)


def labelled(folder: Path, number: int) -> None:
    """Pictures of discs and triangles, each with a NAME.json beside it."""
    folder.mkdir(parents=True)
    for n in range(number):
        image = random.integers(60, 120, (120, 160, 3)).astype(np.uint8)
        shapes = []
        for name, corners in (("disc", 24), ("triangle", 3)):
            turn = np.arange(corners) * 2 * np.pi / corners + random.uniform(0, 6)
            points = random.uniform([35, 35], [125, 85]) + random.uniform(15, 28) * np.c_[np.cos(turn), np.sin(turn)]
            color = random.integers(130, 255, 3).tolist()
            cv2.fillPoly(image, [points.round().astype(np.int32)], color)
            shapes.append({"label": name, "points": points.round(1).tolist(), "shape_type": "polygon", "group_id": None})
        cv2.imwrite(str(folder / f"{n:03d}.png"), image)
        (folder / f"{n:03d}.json").write_text(json.dumps(
            {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": f"{n:03d}.png", "imageData": None,
             "imageHeight": 120, "imageWidth": 160}))


labelled(out / "train", 24)
labelled(out / "val", 6)

# %%
iters = sys.argv[sys.argv.index("--iters") + 1] if "--iters" in sys.argv else "400"
small = ["--set", "TRAIN.SCALES", "[120]", "TEST.SCALES", "[120]"]         # as large as the images are
commands = [
    ["train", "--cpu", "--net", "Mini", "--imdb", f"labelme:{out}/train", "--iters", iters, "--out", f"{out}/model", *small],
    ["test", "--cpu", "--model", f"{out}/model", "--imdb", f"labelme:{out}/val", "--out", f"{out}/test", "--report"],
    ["analyse", f"{out}/test/detections_seg.npz"],
    ["demo", "--cpu", f"{out}/val", "--model", f"{out}/model", "--out", f"{out}/pictures"],
]
for command in commands:
    print("mnc", *command, flush=True)
    status = cli.main(command)
    assert status == 0, command
print(f"look at {out}/test/report/index.html and {out}/pictures/index.html")

# %% [markdown]
# The same from Python: the labelled pictures above, what the net finds in two of `val` below.

# %%
segment = Segmenter(out / "model")
figure, axes = plt.subplots(2, 2, figsize=(7, 5.5), layout="constrained")
paths = [*sorted((out / "train").glob("*.png"))[:2], *sorted((out / "val").glob("*.png"))[:2]]
for axis, path in zip(axes.flat, paths):
    image = cv2.imread(str(path))
    shown = image if path.parent.name == "train" else segment.draw(image)
    axis.imshow(shown[..., ::-1])                       # OpenCV's blue, green, red
    axis.axis("off")
figure.savefig(out / "pictures/two.png")
