#!/usr/bin/env bash
# Train a net, then test the last snapshot. The name this is called by, a link, is the TASK:
#
#   experiments/scripts/TASK.sh GPU NET [--set KEY VALUE ...]
#   GPU: a number; several, 0,1,2,3, or all, with a worker on each; or cpu.
#   NET: VGG16, ZF, ResNet50 or ResNet101 (real data), or Mini (drawn scenes); cfm: VGG16 or Mini.
#
#   mnc_5stage            the five-stage cascade               VOC 2012 with SBD masks
#   mnc_3stage            with three stages only               likewise
#   mnc_5stage_paper      as the paper describes it            likewise
#   cfm                   convolutional feature masking on     likewise, and MCG proposals
#                         given proposals with masks
#   faster_rcnn_end2end   Faster R-CNN: boxes                  VOC 2007
#
# ITERS, TRAIN_IMDB, TEST_IMDB, WEIGHTS (none for random initial weights), MODEL (folder of the
# prototxts), CFG and PYTHON, LOGS (folder), WORKERS (their number on CPUs) may be set in the
# environment.
set -euo pipefail
TASK=$(basename "$0" .sh)
usage() { sed -n "2,/^[^#]/s/^# \{0,1\}//p" "$0" | sed "s/TASK\.sh/$TASK.sh/" >&2; exit 2; }
[ $# -ge 2 ] || usage
GPU=$1
NET=$2
shift 2

# iterations, data set to train on, to test on, task of the test, initial weights
case $TASK in
  mnc_5stage | mnc_3stage) defaults=(25000 voc_2012_seg_train voc_2012_seg_val seg) ;;
  mnc_5stage_paper)        defaults=(40000 voc_2012_seg_train voc_2012_seg_val seg) ;;
  cfm)                     defaults=(30000 voc_2012_seg_train voc_2012_seg_val cfm) ;;
  faster_rcnn_end2end)     defaults=(70000 voc_2007_trainval voc_2007_test det) ;;
  *) usage ;;
esac
case $TASK/$NET in
  */Mini) defaults=(10000 scenes_train scenes_val "${defaults[3]}" none) ;;
  # plain ImageNet models, by the names of their releases
  faster_rcnn_end2end/ResNet*) defaults+=("data/imagenet_models/ResNet-${NET#ResNet}-model.caffemodel") ;;
  faster_rcnn_end2end/*)       defaults+=("data/imagenet_models/$NET.v2.caffemodel") ;;
  *)                           defaults+=("data/imagenet_models/$NET.mask.caffemodel") ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
ITERS=${ITERS:-${defaults[0]}}
TRAIN_IMDB=${TRAIN_IMDB:-${defaults[1]}}
TEST_IMDB=${TEST_IMDB:-${defaults[2]}}
TEST_TASK=${defaults[3]}
WEIGHTS=${WEIGHTS:-${defaults[4]}}
MODEL=${MODEL:-models/$NET/$TASK}
CFG=${CFG:-experiments/cfgs/$NET/$TASK.yml}
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}

initial=()
[ "$WEIGHTS" = none ] || initial=(--weights "$WEIGHTS")
workers=()
[ -z "${WORKERS:-}" ] || workers=(--workers "$WORKERS")

slug=$(printf '%s' "$*" | tr -cs 'A-Za-z0-9_.\n-' _)
LOGS=${LOGS:-experiments/logs}
mkdir -p "$LOGS"
LOG="$LOGS/${TASK}_${NET}_${slug}.txt.$(date +%Y-%m-%d_%H-%M-%S)"
echo "Logging output to $LOG"
export PYTHONUNBUFFERED=1

"$PYTHON" tools/train_net.py --gpu "$GPU" ${workers[@]+"${workers[@]}"} \
  --solver "$MODEL/solver.prototxt" ${initial[@]+"${initial[@]}"} \
  --imdb "$TRAIN_IMDB" --iters "$ITERS" --cfg "$CFG" "$@" 2>&1 | tee -i -a "$LOG" || {
  status=$?     # 130 after Ctrl-C, which tee -i leaves to the training
  echo "training ended with status $status: nothing is tested" >&2
  exit $status
}

SNAPSHOT=$(sed -n 's/^Wrote snapshot to: //p' "$LOG" | tail -n 1)
[ -n "$SNAPSHOT" ] || { echo "error: training wrote no snapshot, so there is nothing to test" >&2; exit 1; }

"$PYTHON" tools/test_net.py --gpu "$GPU" ${workers[@]+"${workers[@]}"} \
  --def "$MODEL/test.prototxt" --net "$SNAPSHOT" \
  --imdb "$TEST_IMDB" --cfg "$CFG" --task "$TEST_TASK" "$@" 2>&1 | tee -a "$LOG"
