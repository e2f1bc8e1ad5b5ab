"""Ports for programs that cannot choose one themselves."""

import socket


def unused_port() -> int:
    """A port that was free a moment ago. Prefer `--port 0` and the ready line where a program has them."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
