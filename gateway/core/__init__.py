"""The pure core: what to run where, and when. No I/O, no clock, no asyncio; `now` is an argument everywhere.

The simulator and the live gateway run this same code.
"""
