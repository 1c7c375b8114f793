"""The page's colors: enough contrast to be read in both schemes (WCAG 2.2, 1.4.3 and 1.4.11)."""

from __future__ import annotations

import re

import pytest

from bluegreen.page.site import ASSETS

CSS = (ASSETS / "page.css").read_text(encoding="utf-8")
LIGHT, DARK = (
    dict(re.findall(r"--(\w+): (#[0-9a-f]{3,6})", block))
    for block in re.findall(r":root \{(.*?)\}", CSS, re.S)
)
TEXTS = ("text", "faint", "link", "good", "bad", "warn")


def luminance(color: str) -> float:
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    parts = [int(digits[start : start + 2], 16) / 255 for start in (0, 2, 4)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["card", "ground"])
def test_every_text_has_the_contrast_of_level_aa(scheme: dict[str, str], ground: str) -> None:
    low = {name: contrast(scheme[name], scheme[ground]) for name in TEXTS}
    assert {name: round(value, 2) for name, value in low.items() if value < 4.5} == {}
    assert all(contrast(scheme[name], scheme[ground]) >= 3 for name in ("focus", "blue", "green"))


def test_both_schemes_have_the_same_colors() -> None:
    assert set(LIGHT) == set(DARK)
    used = set(re.findall(r"var\(--(\w+)\)", CSS))
    assert used == set(LIGHT)
