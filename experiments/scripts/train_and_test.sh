#!/usr/bin/env bash
# What the scripts of this folder have in common: train TASK, then test the last snapshot.
#
# They set TASK (folder of models/NET, name of the configuration), TEST_TASK and `defaults`:
# iterations, data set to train on, to test on, initial weights; then they source this with their
# own arguments.
set -euo pipefail
[ $# -ge 2 ] && [ -n "${TASK:-}" ] || { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

GPU=$1
NET=$2
shift 2

ITERS=${ITERS:-${defaults[0]}}
TRAIN_IMDB=${TRAIN_IMDB:-${defaults[1]}}
TEST_IMDB=${TEST_IMDB:-${defaults[2]}}
WEIGHTS=${WEIGHTS:-${defaults[3]}}
MODEL=${MODEL:-models/$NET/$TASK}
CFG=${CFG:-experiments/cfgs/$NET/$TASK.yml}
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}

initial=()
[ "$WEIGHTS" = none ] || initial=(--weights "$WEIGHTS")

slug=$(printf '%s' "$*" | tr -cs 'A-Za-z0-9_.\n-' _)
LOGS=${LOGS:-experiments/logs}
mkdir -p "$LOGS"
LOG="$LOGS/${TASK}_${NET}_${slug}.txt.$(date +%Y-%m-%d_%H-%M-%S)"
echo "Logging output to $LOG"
export PYTHONUNBUFFERED=1

"$PYTHON" tools/train_net.py --gpu "$GPU" \
  --solver "$MODEL/solver.prototxt" ${initial[@]+"${initial[@]}"} \
  --imdb "$TRAIN_IMDB" --iters "$ITERS" --cfg "$CFG" "$@" 2>&1 | tee -a "$LOG"

SNAPSHOT=$(grep -B 1 "done solving" "$LOG" | grep "Wrote snapshot" | awk -F': ' '{print $2}')

"$PYTHON" tools/test_net.py --gpu "$GPU" \
  --def "$MODEL/test.prototxt" --net "$SNAPSHOT" \
  --imdb "$TEST_IMDB" --cfg "$CFG" --task "$TEST_TASK" "$@" 2>&1 | tee -a "$LOG"
