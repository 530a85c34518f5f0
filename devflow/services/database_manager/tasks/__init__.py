"""Tasks with all that the rich schema knows of them: hierarchy, dependencies, states."""
