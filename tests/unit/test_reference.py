"""The reference is written from the code and has not drifted from it."""

from pulssi.errors import Reason
from pulssi.quantities import QUANTITIES
from pulssi.reference import FILE, render
from pulssi.settings import sections


def test_the_file_is_what_the_code_says():
    assert FILE.read_text(encoding="utf-8") == render(), "run: python -m pulssi.reference"


def test_every_setting_quantity_and_reason_stands_in_it():
    text = render()
    for section in sections().values():
        assert all(f"| `{key}` |" in text for key in section.model_fields)
    assert all(f"| `{name}` |" in text for name in QUANTITIES)
    assert all(f"`{reason}`" in text for reason in Reason)
