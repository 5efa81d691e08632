"""Several processes that do one job together: who they are, how they start, what they exchange."""
