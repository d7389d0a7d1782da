"""Figures, made only from tables of results, masks and parameters; nothing of one paper or study.

The input is always the table of results: a pandas DataFrame with one row per network trained.
Nothing here trains, reads a run folder or knows JAX. Accuracies are in [0, 1] and become percent
only where they are printed or drawn.
"""
