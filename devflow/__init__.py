"""DevFlow on one database: the unified schema, the migration to it, and what uses it."""
