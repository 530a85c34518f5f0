"""The migration while services write: capture, catching up, cutover behind a gate, and back."""
