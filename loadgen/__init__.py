"""Load and measurement tools for streaming LLM endpoints."""
