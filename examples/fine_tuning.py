# %% [markdown]
# # Fine-tuning
# A net that knows digits learns letters: its convolutions stay, its last layer begins anew, because it has another name.

# %%
import struct
from pathlib import Path

import digits
import matplotlib.pyplot as plt
import numpy as np

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
def accuracies(weights: str | None) -> list[float]:
    """On letters it has not seen, before the training and after every 5 iterations of 30."""
    caffe.set_random_seed(1)
    solver = caffe.get_solver(str(out / "solver.prototxt"))
    test = solver.test_nets[0]
    test.share_with(solver.net)
    if weights:
        solver.net.copy_from(weights)
    found = []
    for n in range(7):
        solver.step(5 if n else 0)
        found.append(float(np.mean([test.forward()["accuracy"] for _ in range(3)])))
    return found


tuned = accuracies(str(lenet / "lenet_iter_200.caffemodel"))
alone = accuracies(None)
print(f"after 30 iterations: {tuned[-1]:.3f} from the digits' weights, {alone[-1]:.3f} from random ones")
assert tuned[-1] > 0.75

# %%
figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
axis.plot(range(0, 35, 5), tuned, label="from the digits' weights")
axis.plot(range(0, 35, 5), alone, label="from random weights")
axis.set(xlabel="iteration", ylabel="accuracy on new letters", ylim=(0, 1))
axis.legend()
figure.savefig(out / "accuracy.png")
