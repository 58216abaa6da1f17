"""One line that says how far a long command is: rewritten in place on a terminal, now and then elsewhere."""

from __future__ import annotations

import shutil
import sys
from time import monotonic
from typing import TextIO

_LIVE, _PLAIN = 0.1, 10.0


class Progress:
    """Shows a line on standard error; `every` is how many seconds lie between two lines where there is no terminal."""

    def __init__(self, stream: TextIO | None = None, every: float = _PLAIN):
        self.stream = sys.stderr if stream is None else stream
        self.live = self.stream.isatty()
        self.pause = _LIVE if self.live else every
        self._next = monotonic() + (0 if self.live else every)
        self._open = False

    def show(self, line: str) -> None:
        """Show a line, unless the last one is too fresh."""
        if monotonic() < self._next:
            return
        self._next = monotonic() + self.pause
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[K{line[:width]}", end="", file=self.stream, flush=True)
            self._open = True
        else:
            print(line, file=self.stream, flush=True)

    def close(self) -> None:
        """Leave the terminal on a fresh line."""
        if self._open:
            print("\r\x1b[K", end="", file=self.stream, flush=True)
            self._open = False


__all__ = ["Progress"]
