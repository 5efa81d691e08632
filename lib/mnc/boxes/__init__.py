"""Boxes are rows (x1, y1, x2, y2) of inclusive pixels: width = x2 - x1 + 1.

RoIs are rows (image, x1, y1, x2, y2).
"""
