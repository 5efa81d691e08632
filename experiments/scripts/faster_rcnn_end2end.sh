#!/usr/bin/env bash
# Train Faster R-CNN, then test the boxes of the last snapshot.
#
#   experiments/scripts/faster_rcnn_end2end.sh GPU NET [--set KEY VALUE ...]
#   GPU: a number, or cpu.
#   NET: VGG16, ZF, ResNet50 or ResNet101 (VOC 2007), or Mini (drawn scenes).
#
# ITERS, TRAIN_IMDB, TEST_IMDB, WEIGHTS (none for random initial weights), MODEL (folder of the
# prototxts), CFG and PYTHON, LOGS (folder) may be set in the environment.
NET=${2:-}
TASK=faster_rcnn_end2end
TEST_TASK=det
# NET.v2.caffemodel: a plain ImageNet model, as the Faster R-CNN releases name theirs.
case $NET in
  Mini)    defaults=(10000 scenes_train scenes_val none) ;;
  ResNet*) defaults=(70000 voc_2007_trainval voc_2007_test
                     "data/imagenet_models/ResNet-${NET#ResNet}-model.caffemodel") ;;
  *)       defaults=(70000 voc_2007_trainval voc_2007_test
                     "data/imagenet_models/$NET.v2.caffemodel") ;;
esac
source "$(dirname "${BASH_SOURCE[0]}")/train_and_test.sh" "$@"
