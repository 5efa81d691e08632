# %% [markdown]
# # Fine-tuning
# A net that knows digits learns letters: its convolutions stay, its last layer begins anew, because it has another name.

# %%
import struct
from pathlib import Path

import digits

import caffe
from caffe.commands import convert_mnist_data

lenet, out = Path("output/examples/lenet"), Path("output/examples/letters")
if not (lenet / "lenet_iter_200.caffemodel").exists():
    import train_lenet  # noqa: F401 - it trains the net

out.mkdir(parents=True, exist_ok=True)
import shutil  # noqa: E402

for name, number in (("train", 500), ("test", 300)):
    shutil.rmtree(out / f"{name}_lmdb", ignore_errors=True)
    images, labels = digits.drawn(number, "ABCDEFGH", seed=number)
    (out / "images").write_bytes(struct.pack(">4I", 2051, *images.shape) + images.tobytes())
    (out / "labels").write_bytes(struct.pack(">2I", 2049, number) + labels.tobytes())
    convert_mnist_data.main([str(out / "images"), str(out / "labels"), str(out / f"{name}_lmdb")])

# %%
text = (lenet / "lenet.prototxt").read_text().replace(str(lenet), str(out)).replace('"ip2"', '"letters"')
(out / "letters.prototxt").write_text(text.replace("num_output: 10", "num_output: 8"))
solver_text = (lenet / "solver.prototxt").read_text().replace("lenet", "letters").replace("max_iter: 200", "max_iter: 30")
(out / "solver.prototxt").write_text(solver_text.replace("test_iter: 5", "test_iter: 3"))


# %%
def accuracy(weights: str | None) -> float:
    caffe.set_random_seed(1)
    solver = caffe.get_solver(str(out / "solver.prototxt"))
    if weights:
        solver.net.copy_from(weights)
    solver.solve()
    return sum(float(solver.test_nets[0].forward()["accuracy"]) for _ in range(3)) / 3


tuned = accuracy(str(lenet / "lenet_iter_200.caffemodel"))
alone = accuracy(None)
print(f"after 30 iterations: {tuned:.3f} from the digits' weights, {alone:.3f} from random ones")
assert tuned > 0.75
