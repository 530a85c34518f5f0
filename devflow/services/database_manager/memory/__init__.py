"""Memory blocks of every type with their relationships, and the embeddings of each."""
