#!/usr/bin/env bash
# Train and test the schemes of the paper's Table 1, three seeds each, and compare them.
#
#   experiments/scripts/ablation.sh GPU NET [flags of mnc ablation ...]
#   GPU: a number, or cpu.
#   NET: VGG16 or ZF (VOC 2012 with SBD masks), or Mini (drawn scenes).
#
# A finished run is a JSON file in experiments/results and is not run again. docs/ablation.md says
# more. WEIGHTS (none for random initial weights), PYTHON and OMP_NUM_THREADS (on a CPU 1 if it is
# not set) may be set in the environment.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

GPU=$1
NET=$2
shift 2
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
case $NET in
  Mini) WEIGHTS=${WEIGHTS:-none} ;;
  *)    WEIGHTS=${WEIGHTS:-data/imagenet_models/$NET.mask.caffemodel} ;;
esac
[ "$GPU" = cpu ] && export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
initial=()
[ "$WEIGHTS" = none ] || initial=(--weights "$WEIGHTS")

PYTHONUNBUFFERED=1 exec "$PYTHON" tools/ablation.py --gpu "$GPU" --net "$NET" \
  ${initial[@]+"${initial[@]}"} "$@"
