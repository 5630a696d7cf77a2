"""Loss curves as SVG elements, whose lines and text have the colour of the page's text."""

from __future__ import annotations

import html

import numpy as np

WIDTH, HEIGHT = 320, 210  # in the unit of text, which is 10 high
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 310, 28, 172  # of the frame
_LOG_FROM = 5.0  # the largest value over the least, from which the axis is logarithmic
_TICKS = 5  # at most, of an axis that is not


def curve(name: str, values: np.ndarray) -> str:
    """A curve over the steps from 1 on.

    Args:
      name: stands above, with the first and the last value.
      values: [N] finite, at least two.

    Returns:
      An `<svg>` element; its vertical axis is logarithmic where positive values differ by more than a factor of 5.
    """
    logarithmic = np.min(values) > 0 and np.max(values) > _LOG_FROM * np.min(values)
    heights = np.log10(values) if logarithmic else np.asarray(values, float)
    low, high = float(np.min(heights)), float(np.max(heights))
    pad = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - pad, high + pad
    across = lambda step: _LEFT + (_RIGHT - _LEFT) * (step - 1) / (len(values) - 1)  # noqa: E731
    up = lambda height: _BOTTOM - (_BOTTOM - _TOP) * (height - low) / (high - low)  # noqa: E731
    steps = [step for step in _linear_ticks(1, len(values)) if step == int(step)]
    levels = [np.log10(tick) for tick in _log_ticks(10**low, 10**high)] if logarithmic else _linear_ticks(low, high)
    label = lambda level: f"{10**level if logarithmic else level:.4g}"  # noqa: E731
    points = " ".join(f"{across(i + 1):.1f},{up(height):.1f}" for i, height in enumerate(heights))
    return "\n".join(
        [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" fill="none" stroke="currentColor" font-size="10" role="img">',
            '<g fill="currentColor" stroke="none" text-anchor="middle">',
            _text((_LEFT + _RIGHT) / 2, 16, f"{name}: {values[0]:.3g} to {values[-1]:.3g}", 'font-size="12"'),
            _text((_LEFT + _RIGHT) / 2, HEIGHT - 6, "step"),
            *(_text(across(step), _BOTTOM + 14, f"{step:g}") for step in steps),
            *(_text(_LEFT - 6, up(level) + 3.5, label(level), 'text-anchor="end"') for level in levels),
            "</g>",
            *(f'<path d="M{across(step):.1f} {_TOP}V{_BOTTOM}" opacity="0.12"/>' for step in steps),
            *(f'<path d="M{_LEFT} {up(level):.1f}H{_RIGHT}" opacity="0.12"/>' for level in levels),
            f'<path d="M{_LEFT} {_TOP}V{_BOTTOM}H{_RIGHT}"/>',
            f'<polyline points="{points}" stroke="#2a9d8f" stroke-width="2.2" stroke-linejoin="round"/>',
            "</svg>",
        ]
    )


def _text(x: float, y: float, text: str, attributes: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{html.escape(text)}</text>'


def _linear_ticks(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten between two values, at most _TICKS."""
    power = 10.0 ** np.floor(np.log10((high - low) / _TICKS))
    unit = next(factor * power for factor in (1, 2, 5, 10) if (high - low) / (factor * power) < _TICKS)
    return [round(count * unit, 12) for count in range(int(np.ceil(low / unit)), int(np.floor(high / unit)) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between two positive values, with 2 and 5 times each where the values are not two decades apart."""
    factors = (1, 2, 5) if high < 100 * low else (1,)
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    return [factor * 10.0**power for power in powers for factor in factors if low <= factor * 10.0**power <= high]
