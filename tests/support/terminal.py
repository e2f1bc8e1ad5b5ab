"""A program on a terminal of its own, as a person would run it."""

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

PATIENCE_S: Final = 60.0


class Terminal:
    """Output and errors are the terminal's, and Ctrl-C on it reaches every process of the program."""

    def __init__(self, command: Sequence[str]) -> None:
        self.status: int | None = None
        self._text = ""
        self._ours, theirs = pty.openpty()
        # With a session of its own the terminal that it opens first becomes its controlling one.
        opened = ["/bin/sh", "-c", 'exec "$@" <"$TERMINAL" >"$TERMINAL" 2>"$TERMINAL"', "sh", *command]
        self._process = subprocess.Popen(
            opened, start_new_session=True, env={**os.environ, "TERMINAL": os.ttyname(theirs)}
        )
        self._theirs = theirs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._ours)
        os.close(self._theirs)

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def until(self, pattern: str) -> str:
        """All that was shown, once that is in it; AssertionError if it does not come."""
        return self._shown(lambda: re.search(pattern, self._text) is not None)

    def until_closed(self) -> str:
        """All that was shown when the program has ended; `status` is its exit status then."""
        text = self._shown(lambda: self._process.poll() is not None)
        self.status = self._process.returncode
        return text

    def _shown(self, enough: Callable[[], bool]) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while not (over := enough()) or select.select([self._ours], [], [], 0.0)[0]:
            assert time.monotonic() < deadline, self._text
            if select.select([self._ours], [], [], 0.05)[0]:
                self._text += os.read(self._ours, 65536).decode(errors="replace")
            elif over:
                break
        return self._text
