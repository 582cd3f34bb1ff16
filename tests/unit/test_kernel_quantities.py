"""The vocabulary is consistent, and flags fit their column."""

import re

import numpy as np

from pulssi.errors import Reason
from pulssi.quality import EXCLUDED, Quality
from pulssi.quantities import QUANTITIES


def test_words_are_words_and_ranges_are_ranges():
    for name, quantity in QUANTITIES.items():
        assert name == quantity.name
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert quantity.low < quantity.high
        assert quantity.step_max > 0
        assert quantity.stuck_s > 0


def test_flags_fit_sixteen_bits_and_are_distinct():
    bits = [flag.value for flag in Quality if flag]
    assert sum(bits) == np.bitwise_or.reduce(bits)
    assert max(bits) < 2**16
    assert int(EXCLUDED) < 2**16


def test_reasons_can_be_labels():
    assert all(re.fullmatch(r"[a-z_]+", reason) for reason in Reason)
