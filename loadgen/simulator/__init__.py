"""The gateway's own decisions on a virtual clock, over the emulator's batch model."""
