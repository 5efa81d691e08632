# %% [markdown]
# # An old project
# A folder as people had it in 2015: scripts that start `build/tools/caffe`, prototxts of an early form. `caffe link_tools`
# makes the commands appear where they are looked for; the rest runs as it is.

# %%
import shutil
import subprocess
from pathlib import Path

import digits

from caffe.commands import link_tools

root = Path("output/examples/old_project")
shutil.rmtree(root, ignore_errors=True)
for name, number in (("train", 1000), ("t10k", 200)):
    images, labels = digits.write(root / "data/mnist", number, seed=number)
    images.rename(images.with_name(f"{name}-images-idx3-ubyte"))
    labels.rename(labels.with_name(f"{name}-labels-idx1-ubyte"))
link_tools.main([str(root)])

# %% [markdown]
# The scripts, in the form of that time; the net is one of 2014 (`layers`, names of types in capitals).

# %%
(root / "create.sh").write_text("""set -e
BUILD=build/examples/mnist
for set in train t10k; do
  $BUILD/convert_mnist_data.bin data/mnist/$set-images-idx3-ubyte data/mnist/$set-labels-idx1-ubyte mnist_${set}_lmdb --backend=lmdb
done
""")
(root / "train.sh").write_text("./build/tools/caffe train --solver=solver.prototxt 2>&1 | tee train.log\n")
(root / "net.prototxt").write_text("""
name: "old"
layers { name: "mnist" type: DATA top: "data" top: "label" include { phase: TRAIN } transform_param { scale: 0.00390625 }
  data_param { source: "mnist_train_lmdb" backend: LMDB batch_size: 50 } }
layers { name: "mnist" type: DATA top: "data" top: "label" include { phase: TEST } transform_param { scale: 0.00390625 }
  data_param { source: "mnist_t10k_lmdb" backend: LMDB batch_size: 100 } }
layers { name: "ip1" type: INNER_PRODUCT bottom: "data" top: "ip1" blobs_lr: 1 blobs_lr: 2
  inner_product_param { num_output: 64 weight_filler { type: "xavier" } } }
layers { name: "relu1" type: RELU bottom: "ip1" top: "ip1" }
layers { name: "ip2" type: INNER_PRODUCT bottom: "ip1" top: "ip2" blobs_lr: 1 blobs_lr: 2
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layers { name: "accuracy" type: ACCURACY bottom: "ip2" bottom: "label" top: "accuracy" include { phase: TEST } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "ip2" bottom: "label" top: "loss" }
""")
(root / "solver.prototxt").write_text("""net: "net.prototxt" test_iter: 2 test_interval: 100 base_lr: 0.05 lr_policy: "fixed"
momentum: 0.9 display: 50 max_iter: 100 snapshot_prefix: "old" solver_mode: CPU""")

# %%
for script in ("create.sh", "train.sh"):
    subprocess.run(["sh", script], cwd=root, check=True, stdout=subprocess.DEVNULL)
log = (root / "train.log").read_text()
accuracy = float(log.rsplit("accuracy = ", 1)[1].split()[0])
print(f"accuracy {accuracy}, weights in {root / 'old_iter_100.caffemodel'}")
assert (root / "old_iter_100.caffemodel").exists() and accuracy > 0.5
