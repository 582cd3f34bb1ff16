"""the Faust shell: runs processors on the partitions of Kafka topics, exact after any crash

`run_faust` is all that a part needs; the pure cores behind it know nothing of Faust or Kafka.
"""

from __future__ import annotations

from pulssi.shell.runner import run_faust

__all__ = ["run_faust"]
