"""Embeddings in and out: other systems' files <-> an embeddings artifact."""
