"""Where data layers get their batches: databases, image lists, transformations, a thread."""
