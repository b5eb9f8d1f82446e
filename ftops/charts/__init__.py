"""Values → static SVG, each picture with the sentences that say what it shows, made from the same figures. Pure.

The pictures name classes, no colours: the page that holds them has the colours, of light and of dark.
"""

from __future__ import annotations

from ftops.charts.distributions import distribution_pictures
from ftops.charts.effects import effect_pictures
from ftops.charts.forest import forest_picture, outcome
from ftops.charts.histogram import cluster_picture, histogram_picture
from ftops.charts.reading import Declared
from ftops.charts.svg import Picture
from ftops.charts.units import unit_pictures

__all__ = [
    "Declared",
    "Picture",
    "cluster_picture",
    "distribution_pictures",
    "effect_pictures",
    "forest_picture",
    "histogram_picture",
    "outcome",
    "unit_pictures",
]
