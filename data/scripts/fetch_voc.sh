#!/usr/bin/env bash
# PASCAL VOC detection: fetch_voc.sh [2007] [2012]. --list shows addresses and places.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
exec "${PYTHON:-python3}" data/scripts/fetch.py voc "$@"
