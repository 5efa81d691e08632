#!/usr/bin/env bash
# Train the five-stage cascade, then test the last snapshot.
#
#   experiments/scripts/mnc_5stage.sh GPU NET [--set KEY VALUE ...]
#   GPU: a number, or cpu.   NET: VGG16 (VOC 2012 with SBD masks) or Mini (generated scenes).
#
# ITERS, TRAIN_IMDB, TEST_IMDB, WEIGHTS (none for random initial weights), MODEL (folder of the prototxts), CFG and
# PYTHON, LOGS (folder) may be set in the environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

[ $# -ge 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
GPU=$1
NET=$2
shift 2

case $NET in
  Mini) defaults=(18000 scenes_train scenes_val none) ;;
  *)    defaults=(25000 voc_2012_seg_train voc_2012_seg_val "data/imagenet_models/$NET.mask.caffemodel") ;;
esac
ITERS=${ITERS:-${defaults[0]}}
TRAIN_IMDB=${TRAIN_IMDB:-${defaults[1]}}
TEST_IMDB=${TEST_IMDB:-${defaults[2]}}
WEIGHTS=${WEIGHTS:-${defaults[3]}}
MODEL=${MODEL:-models/$NET/mnc_5stage}
CFG=${CFG:-experiments/cfgs/$NET/mnc_5stage.yml}
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}

initial=()
[ "$WEIGHTS" = none ] || initial=(--weights "$WEIGHTS")

slug=$(printf '%s' "$*" | tr -cs 'A-Za-z0-9_.\n-' _)
LOGS=${LOGS:-experiments/logs}
mkdir -p "$LOGS"
LOG="$LOGS/mnc_5stage_${NET}_${slug}.txt.$(date +%Y-%m-%d_%H-%M-%S)"
echo "Logging output to $LOG"
export PYTHONUNBUFFERED=1

"$PYTHON" tools/train_net.py --gpu "$GPU" \
  --solver "$MODEL/solver.prototxt" ${initial[@]+"${initial[@]}"} \
  --imdb "$TRAIN_IMDB" --iters "$ITERS" --cfg "$CFG" "$@" 2>&1 | tee -a "$LOG"

SNAPSHOT=$(grep -B 1 "done solving" "$LOG" | grep "Wrote snapshot" | awk -F': ' '{print $2}')

"$PYTHON" tools/test_net.py --gpu "$GPU" \
  --def "$MODEL/test.prototxt" --net "$SNAPSHOT" \
  --imdb "$TEST_IMDB" --cfg "$CFG" --task seg "$@" 2>&1 | tee -a "$LOG"
