#!/usr/bin/env bash
# Train the five-stage cascade, then test the last snapshot.
#
#   experiments/scripts/mnc_5stage.sh GPU NET [--set KEY VALUE ...]
#   GPU: a number, or cpu.
#   NET: VGG16, ZF, ResNet50 or ResNet101 (VOC 2012 with SBD masks), or Mini (drawn scenes).
#
# ITERS, TRAIN_IMDB, TEST_IMDB, WEIGHTS (none for random initial weights), MODEL (folder of the
# prototxts), CFG and PYTHON, LOGS (folder) may be set in the environment.
NET=${2:-}
TASK=mnc_5stage
TEST_TASK=seg
case $NET in
  Mini) defaults=(10000 scenes_train scenes_val none) ;;
  *)    defaults=(25000 voc_2012_seg_train voc_2012_seg_val
                  "data/imagenet_models/$NET.mask.caffemodel") ;;
esac
source "$(dirname "${BASH_SOURCE[0]}")/train_and_test.sh" "$@"
