#!/usr/bin/env bash
# The published weights of the five-stage cascade: where to put them. --list shows addresses and places.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
exec "${PYTHON:-python3}" data/scripts/fetch.py mnc_model "$@"
