"""Multi-task Network Cascades: boxes, masks, sampling, data, training, inference and evaluation."""
