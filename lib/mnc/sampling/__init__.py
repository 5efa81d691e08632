"""Which anchors and RoIs a training step uses, and their targets.

Draws come from numpy's global generator, in the order of the public code.
"""
