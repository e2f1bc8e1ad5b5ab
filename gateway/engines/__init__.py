"""Adapters to model servers; `base` is the port that the runtime sees."""
