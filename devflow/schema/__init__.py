"""The unified schema as SQL."""
