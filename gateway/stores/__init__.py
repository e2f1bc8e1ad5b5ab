"""Keys, limits and what else outlives a request: ports and adapters."""
