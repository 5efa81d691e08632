"""Instance masks: (h, w) arrays cropped to their box, or (S, S) maps stretched over it."""
