#!/usr/bin/env bash
# COCO instances: fetch_coco.sh [2014] [2017] [2014-val ...]. --list shows addresses and places.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
exec "${PYTHON:-python3}" data/scripts/fetch.py coco "$@"
