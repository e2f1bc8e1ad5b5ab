"""The asyncio shell around the core: owns tasks and timers, applies plans, sees ports and never adapters."""
