"""Train, index and evaluate dense passage retrievers from the shell."""

__version__ = "0.1.0"
