"""Colours that belong to track ids: the same id has the same colour in every picture of every video."""

from __future__ import annotations

import functools

import numpy as np

Color = tuple[int, int, int]

# Steps that never repeat and fill hue, lightness and chroma evenly: powers of the inverse plastic-like number of three
# dimensions, the root of x^4 = x + 1. Hue takes the golden section, so that ids next to each other differ most.
_HUE_STEP = 0.6180339887498949
_LIGHTNESS_STEP = 0.6710436067037893
_CHROMA_STEP = 0.5497004779019703


@functools.lru_cache(maxsize=65536)
def track_color(track_id: int) -> Color:
    """The colour of a track, RGB 0..255: vivid, neither near black nor near white, unlike those of neighbouring ids.

    Made in the OKLCH space, in which equal steps look equal.
    """
    hue = (0.02 + track_id * _HUE_STEP) % 1.0
    lightness = 0.64 + 0.18 * ((track_id * _LIGHTNESS_STEP) % 1.0)
    chroma = 0.15 + 0.08 * ((track_id * _CHROMA_STEP) % 1.0)
    # chroma shrinks until the colour exists on a screen
    for factor in np.linspace(1.0, 0.0, 41):
        red, green, blue = _oklch_to_linear_rgb(lightness, chroma * float(factor), hue)
        if min(red, green, blue) >= 0.0 and max(red, green, blue) <= 1.0:
            break
    return _encode(red), _encode(green), _encode(blue)


def text_color_on(background: Color) -> Color:
    """Black or white, whichever stands out more from a background (contrast ratio of the WCAG)."""
    red, green, blue = ((value / 255) ** 2.2 for value in background)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    # where (1 + 0.05) / (luminance + 0.05) and (luminance + 0.05) / (0 + 0.05) are equal
    return (0, 0, 0) if luminance > 0.179 else (255, 255, 255)


def _oklch_to_linear_rgb(lightness: float, chroma: float, hue: float) -> tuple[float, float, float]:
    """Björn Ottosson's OKLab, hue as a share of the circle."""
    angle = 2.0 * np.pi * hue
    a, b = chroma * float(np.cos(angle)), chroma * float(np.sin(angle))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )


def _encode(linear: float) -> int:
    linear = min(max(linear, 0.0), 1.0)
    value = 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
    return round(255 * value)
