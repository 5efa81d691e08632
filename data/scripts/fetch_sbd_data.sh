#!/usr/bin/env bash
# SBD: images with the instance masks that MNC is trained and tested on. --list shows addresses and places.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
exec "${PYTHON:-python3}" data/scripts/fetch.py sbd_data "$@"
