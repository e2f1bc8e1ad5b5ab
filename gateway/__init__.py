"""Andante: a fair, reader-aware streaming gateway in front of LLM engines."""

__version__ = "0.1.0"
