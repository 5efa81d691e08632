"""Solvers: the loop, update rules, learning-rate policies, what is shown while it runs."""
