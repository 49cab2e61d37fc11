"""Checks that keep a degenerate One-Class SVM from answering nonsense, at training and again at each load.

A fit with nu * n < 1, or stopped at its starting point, may flag everything or nothing, and no error is raised:
see the reference's shipped models, some of which flag every row they were trained on.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from models.errors import ModelRefused
from models.inference.weights import Weights

MIN_VECTORS: Final = 2
_SLACK_ROWS: Final = 3
_SLACK_SHARE: Final = 0.02
_SHOWN: Final = 10


def refusals(weights: Weights) -> dict[tuple[str, str], str]:
    """The reason for each series whose model must not be used; empty if all are sound."""
    reasons: dict[tuple[str, str], str] = {}
    nu_n = weights.nu * weights.windows
    for bad, reason in (
        (~_finite(weights), "parameters are not finite or not positive"),
        (
            ~(weights.flagged <= nu_n + _SLACK_ROWS + _SLACK_SHARE * weights.windows),
            "flags {flagged} of its own {windows} training windows, far more than nu={nu:g} allows",
        ),
        (weights.vectors < MIN_VECTORS, "has {vectors} support vector(s); a sound fit has at least 2"),
        # A hair below 1 is rounding of nu = 1 / n.
        (~(nu_n >= 1 - 1e-9), "nu * n is {nu_n:.3g} (nu={nu:g}, {windows} windows); below 1 the fit is not defined"),
    ):
        for i in np.flatnonzero(bad):
            # The last check written wins: it is the cause, the earlier ones are symptoms.
            reasons[weights.series[i]] = reason.format(
                flagged=weights.flagged[i],
                windows=weights.windows[i],
                nu=weights.nu[i],
                nu_n=nu_n[i],
                vectors=weights.vectors[i],
            )
    return reasons


def check(weights: Weights) -> None:
    """Raises ModelRefused, naming the series and the reason, if any model must not be used."""
    reasons = refusals(weights)
    if reasons:
        shown = "; ".join(f"{d}/{s}: {reason}" for (d, s), reason in list(reasons.items())[:_SHOWN])
        more = f"; and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
        raise ModelRefused(f"{len(reasons)} of {len(weights)} series have a degenerate model: {shown}{more}")


def _finite(weights: Weights) -> npt.NDArray[np.bool_]:
    sound = (
        np.isfinite(weights.mean).all(1)
        & np.isfinite(weights.scale).all(1)
        & (weights.scale > 0).all(1)
        & np.isfinite(weights.rho)
        & (weights.rho > 0)
        & np.isfinite(weights.gamma)
        & (weights.gamma > 0)
    )
    bad_vector = ~(np.isfinite(weights.support).all(1) & np.isfinite(weights.coef) & (weights.coef > 0))
    owner = np.repeat(np.arange(len(weights)), weights.vectors)
    sound[owner[bad_vector]] = False
    return sound
