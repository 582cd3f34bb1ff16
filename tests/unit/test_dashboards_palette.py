"""The colours hold for the common forms of colour blindness and on both themes.

Simulation: Machado, Oliveira and Fernandes 2009, "A physiologically-based model for simulation of color vision
deficiency", Table 1, severity 1.0. Difference: CIE 1976 in L*a*b*, D65.
"""

import itertools
import re

import numpy as np
import pytest

from dashboards.app import STATIC

DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
LEVELS = [f"level-{number}" for number in range(5)]
DELAYS = ["delay-early", "delay-on-time", "delay-late", "delay-very-late"]


def themes() -> dict[str, dict[str, str]]:
    text = (STATIC / "css" / "theme.css").read_text(encoding="utf-8")
    light, _, dark = text.partition("@media")
    found = {
        name: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", part))
        for name, part in (("light", light), ("dark", dark))
    }
    assert found["light"].keys() == found["dark"].keys()
    return found


def linear(colour: str) -> np.ndarray:
    encoded = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    ratio = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one: str, other: str) -> float:
    light, dark = sorted((float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("eye", DEFICIENCIES)
@pytest.mark.parametrize("names", [LEVELS, DELAYS], ids=["levels", "delays"])
def test_any_two_colours_can_be_told_apart(theme, eye, names):
    colours = themes()[theme]
    seen = {name: lab(DEFICIENCIES[eye] @ linear(colours[name])) for name in names}
    distances = {pair: np.linalg.norm(seen[pair[0]] - seen[pair[1]]) for pair in itertools.combinations(names, 2)}
    worst = min(distances, key=lambda pair: distances[pair])
    assert distances[worst] >= 20, (worst, distances[worst])


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "paper"),
    [
        ("ink", "surface"),
        ("muted", "surface"),
        ("muted", "hover"),
        ("accent", "surface"),
        ("warning", "surface"),
        ("warning", "warning-soft"),
        ("alarm", "surface"),
        ("alarm", "alarm-soft"),
        ("good", "surface"),
        ("muted", "land"),
    ],
)
def test_text_can_be_read(theme, ink, paper):
    colours = themes()[theme]
    assert contrast(colours[ink], colours[paper]) >= 4.5  # WCAG 2.2, 1.4.3
