#!/usr/bin/env bash
# ImageNet weights that training starts from (VGG16 and ZF; where they are gone, those of torch; ResNet50, ResNet101). --list shows addresses and places.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
exec "${PYTHON:-python3}" data/scripts/fetch.py imagenet_models "$@"
