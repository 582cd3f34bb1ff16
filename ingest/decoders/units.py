"""conversion of the units that sensors send into those of the vocabulary"""

from __future__ import annotations

from pulssi.errors import PoisonError, Reason
from pulssi.quantities import QUANTITIES
from pulssi.units import MOLAR_MASS_G, ppb_to_ug_m3

Conversion = tuple[float, float]
"""value in the vocabulary's unit = factor * value + offset"""

SAME: Conversion = (1.0, 0.0)

_TO: dict[str, dict[str, Conversion]] = {
    "ug/m3": {"kg/m3": (1e9, 0.0), "g/m3": (1e6, 0.0), "mg/m3": (1e3, 0.0)},
    "ppm": {"ppb": (1e-3, 0.0), "/": (1e6, 0.0), "%": (1e4, 0.0)},
    "Cel": {"K": (1.0, -273.15)},
    "%RH": {"%": SAME, "/": (100.0, 0.0)},
    "%": {"/": (100.0, 0.0), "%EL": SAME},
    "hPa": {"Pa": (0.01, 0.0), "bar": (1e3, 0.0), "kPa": (10.0, 0.0)},
    "m/s": {"km/h": (1 / 3.6, 0.0)},
    "km/h": {"m/s": (3.6, 0.0)},
    "deg": {"rad": (57.29577951308232, 0.0)},
    "dBm": {"dBW": (1.0, 30.0)},
    "s": {"ms": (1e-3, 0.0), "min": (60.0, 0.0)},
    "mm/h": {"m/s": (3.6e6, 0.0)},
}
"""By the vocabulary's unit, then by the unit sent. Spelling of RFC 8428 (tables 2 and 4) and RFC 8798."""


def conversion(quantity: str, unit: str) -> Conversion:
    """How values of `quantity` in `unit` become values of the vocabulary.

    Raises:
        PoisonError: the unit does not measure this quantity.
    """
    wanted = QUANTITIES[quantity].unit
    if unit == wanted:
        return SAME
    if quantity in MOLAR_MASS_G and unit in ("ppb", "ppm"):
        return (ppb_to_ug_m3(quantity, 1.0 if unit == "ppb" else 1e3), 0.0)  # at 20 C, as gases are reported in the EU
    found = _TO.get(wanted, {}).get(unit)
    if found is None:
        raise PoisonError(Reason.UNIT_MISMATCH, f"{quantity} is in {wanted}, not {unit[:32]!r}")
    return found
