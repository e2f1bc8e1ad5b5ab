"""Logs and metrics: listeners of the runtime's instrument port."""
