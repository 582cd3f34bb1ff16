"""units of gases: mixing ratio to mass concentration at the temperature that a rule demands

Mass concentration = mixing ratio x molar mass / molar volume, with the volume of one mole of ideal gas at 1013.25 hPa:
24.055 L at 20 C (European directives) and 24.465 L at 25 C (US EPA).
"""

from __future__ import annotations

from typing import Literal, overload

import numpy as np

MOLAR_MASS_G = {"o3": 47.998, "no2": 46.0055, "so2": 64.066, "co": 28.010, "no": 30.006}
"""g/mol of the gases that are reported as mixing ratios."""
MOLAR_VOLUME_L = {20: 24.055, 25: 24.465}
"""L/mol at 1013.25 hPa by temperature in Celsius."""

Celsius = Literal[20, 25]


@overload
def ppb_to_ug_m3(gas: str, ppb: float, celsius: Celsius = 20) -> float: ...
@overload
def ppb_to_ug_m3(gas: str, ppb: np.ndarray, celsius: Celsius = 20) -> np.ndarray: ...
def ppb_to_ug_m3(gas: str, ppb: float | np.ndarray, celsius: Celsius = 20) -> float | np.ndarray:
    """Micrograms per cubic metre of a mixing ratio in parts per billion.

    Raises:
        KeyError: the gas has no molar mass here.
    """
    return ppb * (MOLAR_MASS_G[gas] / MOLAR_VOLUME_L[celsius])


@overload
def ug_m3_to_ppb(gas: str, ug_m3: float, celsius: Celsius = 20) -> float: ...
@overload
def ug_m3_to_ppb(gas: str, ug_m3: np.ndarray, celsius: Celsius = 20) -> np.ndarray: ...
def ug_m3_to_ppb(gas: str, ug_m3: float | np.ndarray, celsius: Celsius = 20) -> float | np.ndarray:
    """Parts per billion of a mass concentration in micrograms per cubic metre.

    Raises:
        KeyError: the gas has no molar mass here.
    """
    return ug_m3 * (MOLAR_VOLUME_L[celsius] / MOLAR_MASS_G[gas])
