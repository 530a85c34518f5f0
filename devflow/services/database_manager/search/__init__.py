"""Search over tasks and memory by the words that they hold."""
