"""What the preview and the bake have measured, as tasks pass it on in XComs."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from bluegreen.validation.evidence import Evidence
from bluegreen.validation.own_requests import Sample

# Figures by their names, for example ``{"requests": 80, "failed": 1, "p99_ms": 9.5}``.
Figures = dict[str, int | float | None]


class Baseline(BaseModel):
    """The result of the task ``preview_check``.

    :param samples: the live color's answers meanwhile.
    :param unproven: paths that the new release does not answer well, which prove nothing.
    """

    model_config = ConfigDict(frozen=True)

    samples: tuple[Sample, ...] = ()
    unproven: tuple[str, ...] = ()


class BakeResult(BaseModel):
    """The result of the task ``final_validation``.

    :param bake_seconds: how long the new color was watched.
    :param own_requests: by path, what was asked beside clients: of the new color, and of the old one before
        the switch and now.
    :param all_requests: by proxy, what HAProxy counted, clients' requests too.
    :param rests_on: how many of which requests the verdict rests on.
    """

    model_config = ConfigDict(frozen=True)

    bake_seconds: float
    own_requests: dict[str, dict[str, Figures]]
    all_requests: dict[str, dict[str, Figures]]
    rests_on: Evidence
