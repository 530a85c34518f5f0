"""Hypothesis strategies for whole legacy trees: rows, unplanned tables, logs, all with hazards."""
