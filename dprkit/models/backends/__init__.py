"""Runtimes beside torch that encode with a retriever: faster on a CPU, or sooner ready."""
