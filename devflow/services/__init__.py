"""The unified services: each one FastAPI application over the one database."""
