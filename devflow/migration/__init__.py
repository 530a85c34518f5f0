"""The migration of DevFlow's fragmented databases to one, and back, by phases."""
