"""Requests made from the gateway's own description: whatever is sent, the answer is one that the description names.

Real processes: two emulated engines, which take any length, and a gateway with an admin key before them.
"""

ADMIN = "an-admin-key-that-is-long"
EXAMPLES = 100
