"""what a recording is: records in order of receipt, each able to say itself at another time"""

from __future__ import annotations

import gzip
import io
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from pulssi.quantities import Kind
from simulators.messages import Message

DATA: Final = Path(__file__).parents[1] / "data"


class Record(ABC):
    """One thing that was recorded.

    Attributes:
        time: when it was received, us UTC.
        device_id: the device or vehicle that sent it.
        kind: the `<kind>` level of its topics in Pulssi's own format, whose messages the gateway answers with
            receipts; None for foreign formats.
    """

    time: int
    device_id: str
    kind: Kind | None = None

    @abstractmethod
    def message(self, shift_us: int, seq: int) -> Message:
        """The message as it would have come `shift_us` later.

        Args:
            shift_us: whole minutes, so that times of day in minutes stay such.
            seq: number for formats that have one; the others leave it out.
        """


@dataclass(frozen=True, slots=True)
class Recording:
    """Records in order of receipt.

    Attributes:
        records: all of them.
        squeeze: whether long silences only separate what was recorded, and may be cut short.
    """

    records: list[Record]
    squeeze: bool


def open_text(path: Path) -> io.TextIOBase:
    """A text file in UTF-8, also when packed with gzip."""
    if path.suffix == ".gz":
        return cast("io.TextIOBase", gzip.open(path, "rt", encoding="utf-8-sig", newline=""))
    return path.open(encoding="utf-8-sig", newline="")
