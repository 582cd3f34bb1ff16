"""errors, cut by what the caller can do about them

PulssiError
 +-- ConfigurationError   tell the operator every problem at once, exit 2
 +-- TransientError       wait with jitter and try again, for ever but visibly
 +-- PoisonError          dead-letter the one record, go on
 +-- FencedError          somebody else owns the work now: stop
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum


class PulssiError(Exception):
    """Base of every error that Pulssi raises on purpose."""


class ConfigurationError(PulssiError):
    """The settings, files or rights are wrong; nothing starts until a person mends them.

    Attributes:
        problems: one sentence per problem, all of them.
    """

    exit_code = 2

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems: list[str] = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("; ".join(self.problems))


class TransientError(PulssiError):
    """A server is away or busy; the same call may succeed later."""


class Reason(StrEnum):
    """Why a message was refused: the `reason` of a dead letter and of the metric `pulssi_dropped_total`."""

    BAD_JSON = "bad_json"
    BAD_SCHEMA = "bad_schema"
    BAD_ENCODING = "bad_encoding"
    BAD_TOPIC = "bad_topic"
    BAD_DEVICE_ID = "bad_device_id"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    DUPLICATE_KEY = "duplicate_key"
    UNKNOWN_FORMAT = "unknown_format"
    UNKNOWN_QUANTITY = "unknown_quantity"
    UNIT_MISMATCH = "unit_mismatch"
    NOT_FINITE = "not_finite"
    NO_TIME = "no_time"
    BAD_TIME = "bad_time"
    TIME_PAST = "time_past"
    TIME_FUTURE = "time_future"
    NO_READING = "no_reading"
    CONTROL_CHARACTER = "control_character"
    RETAINED = "retained"
    SERIES_COLLISION = "series_collision"
    BAD_FRAME = "bad_frame"
    BAD_RECORD = "bad_record"


class PoisonError(PulssiError):
    """One record can never be processed; it goes to the dead letters with its original bytes.

    Attributes:
        reason: the countable reason.
        detail: a sentence for a person; never contains secrets.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}" if detail else str(reason))


class FencedError(PulssiError):
    """Another process has taken over this work; whoever sees this stops at once."""
