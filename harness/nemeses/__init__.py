"""What injects faults: one file for each kind of fault."""
