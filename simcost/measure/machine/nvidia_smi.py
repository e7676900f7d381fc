"""A board's clocks by nvidia-smi, for where NVML's bindings are not installed.

One process says them ten times per second and a thread keeps the last line: to start it anew for each reading would cost
more than a point takes. Most likely to be wrong: a reading is up to a tenth of a second old, so that only slower changes
of a clock show. Source: `nvidia-smi --help-query-gpu`.
"""

from __future__ import annotations

import atexit
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from simcost.units import parse

FIELDS = (
    "clocks.sm", "clocks.max.sm", "clocks.mem", "power.draw", "enforced.power.limit", "driver_version",
)  # fmt: skip
_EVERY_MS = "100"
_FIRST = parse("3 s", "seconds")  # that the first line may take: the driver may have to be loaded
_STALE = parse("2 s", "seconds")  # a line older than this says nothing of now


class Smi:
    """The last line of a process that keeps saying what `FIELDS` are. `board`: an index or a UUID."""

    def __init__(self, board: str, command: Sequence[str] | None = None, now: Callable[[], float] = time.monotonic):
        self._now = now
        self._words: list[str] = []
        self._at = -_STALE
        self._process: subprocess.Popen[str] | None = None
        asked = command or _command(board)
        if not asked:
            return
        try:
            self._process = subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        except OSError:
            return
        atexit.register(self.close)
        first = threading.Event()
        threading.Thread(target=self._listen, args=(first,), daemon=True).start()
        first.wait(_FIRST)

    def _listen(self, first: threading.Event) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            words = [word.strip() for word in line.split(",")]
            if len(words) == len(FIELDS):
                self._words, self._at = words, self._now()
                first.set()
        first.set()

    def text(self, field: str) -> str | None:
        """The present value of a field of FIELDS; None when the process said nothing for two seconds, or the board does not
        support it."""
        if not self._words or self._now() - self._at > _STALE:
            return None
        found = self._words[FIELDS.index(field)]
        return None if found.startswith("[") or found == "" else found  # "[N/A]", "[Not Supported]"

    def number(self, field: str) -> float | None:
        """`text` as a number, in nvidia-smi's own unit (MHz, W); None where it is no number."""
        with suppress(TypeError, ValueError):
            return float(self.text(field) or "")
        return None

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _command(board: str) -> list[str]:
    """Nothing where there is no nvidia-smi."""
    path = shutil.which("nvidia-smi")
    if path is None:
        return []
    return [path, f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits", "-i", board, "-lms", _EVERY_MS]
