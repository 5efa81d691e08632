#!/usr/bin/env bash
# MCG regions of VOC 2012, for convolutional feature masking. --list shows addresses and places.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
exec "${PYTHON:-python3}" data/scripts/fetch.py mcg_data "$@"
