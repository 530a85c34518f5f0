"""A gate for database migrations: rehearse on copies, prove what was kept, sign the proof."""

__version__ = "0.1.0"
