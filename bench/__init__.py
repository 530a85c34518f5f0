"""Measures the gate and the migration on a million rows; asserts nothing about time."""
