"""Turns a fitted fleet into a registered version: parity gate, merge with an older version, manifest."""

import io
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING

import msgspec

from models.errors import BadInput
from models.features import FEATURES
from models.inference import guards
from models.inference.weights import (
    GRAPH_FILE,
    WEIGHTS_FILE,
    Weights,
    decode_weights,
    encode_weights,
    merge,
    select,
)
from models.manifest import Manifest
from models.ports import Clock
from models.registry import Registry
from models.windowspec import WindowSpec
from training.history import Series, fingerprint
from training.stamp import creator, stamped
from training.svm.export import INPUTS, OUTPUTS, PARITY_TOLERANCE, bank_graph, parity
from training.svm.fit import Fleet, Refusal, SvmOptions

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

ESTIMATORS_FILE = "estimators.joblib"
REPORT_FILE = "report.json"


@dataclass(frozen=True, slots=True)
class Base:
    """A registered version whose series are taken over."""

    version: str
    weights: Weights


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What one training run did; stored beside the models."""

    fitted: list[tuple[str, str, int]]
    """(device, sensor, windows)"""
    refused: list[Refusal]
    parity: float
    """Largest difference of the bank from scikit-learn, as a share of max(1, nu * n)."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A stored version and how its training went."""

    manifest: Manifest
    report: Report


def register(
    registry: Registry,
    fleet: Fleet,
    *,
    options: SvmOptions,
    spec: WindowSpec,
    clock: Clock,
    base: Base | None = None,
) -> Registered:
    """Store the fleet as a new version, with the series of `base` that it does not fit anew. Does not promote.

    A series on which the bank differs from scikit-learn is refused. Raises BadInput if no series is left.
    """
    fleet, worst = _passed_parity(fleet)
    if not fleet.fitted:
        reasons = "; ".join(f"{r.device}/{r.sensor}: {r.reason}" for r in fleet.refused[:5])
        raise BadInput(f"no series could be trained ({reasons or 'there are no windows'})")
    parts = [*([base.weights] if base else []), *(fit.row for fit in fleet.fitted)]
    weights = merge(parts)
    report = Report(
        fitted=[(*fit.windows.series, len(fit.windows.start_us)) for fit in fleet.fitted],
        refused=fleet.refused,
        parity=worst,
    )
    files = {
        GRAPH_FILE: bank_graph(),
        WEIGHTS_FILE: encode_weights(weights),
        # Those of the base stay where they are: pickling a fleet again for each new device would take minutes.
        ESTIMATORS_FILE: _dump({fit.windows.series: fit.estimator for fit in fleet.fitted}),
        REPORT_FILE: msgspec.json.encode(report),
    }
    stamp = stamped(clock, files[WEIGHTS_FILE])
    manifest = Manifest(
        model=registry.model,
        version=stamp.version,
        created_at=stamp.created_at,
        creator=creator(f"scikit-learn {installed_version('scikit-learn')}"),
        features=list(FEATURES),
        window=spec.name,
        inputs=INPUTS,
        outputs=OUTPUTS,
        series=len(weights),
        metrics={
            "series_fitted": len(fleet.fitted),
            "series_refused": len(fleet.refused),
            "training_flag_rate": float(weights.flagged.sum() / weights.windows.sum()),
            "max_parity_difference": worst,
        },
        parameters={name: getattr(options, name) for name in options.__struct_fields__},
        data_fingerprint=fingerprint((fit.windows for fit in fleet.fitted), spec),
        based_on=base.version if base else None,
    )
    return Registered(registry.publish(manifest, files), report)


def load_base(registry: Registry, version: str | None, spec: WindowSpec) -> Base | None:
    """The series of `version` that can be taken over; None if there is no version, or it is for other windows.

    Series whose stored model is degenerate are left out. Raises ModelRefused on a wrong digest.
    """
    if version is None:
        return None
    manifest = registry.manifest(version)
    if manifest.window != spec.name or manifest.features != list(FEATURES):
        return None
    weights = decode_weights(registry.file(manifest, WEIGHTS_FILE))
    bad = guards.refusals(weights)
    sound = select(weights, [i for i, series in enumerate(weights.series) if series not in bad])
    return Base(version, sound)


def load_estimators(registry: Registry, manifest: Manifest) -> "dict[Series, Pipeline]":
    """The scikit-learn pipelines of all series of a version, to verify the bank against.

    Each version stores those that it fitted; the others are found in the versions it is based on. They are pickles:
    digests are checked first, and whoever can write the registry is trusted.
    """
    import joblib

    missing = set(decode_weights(registry.file(manifest, WEIGHTS_FILE)).series)
    found: dict[Series, Pipeline] = {}
    step: Manifest | None = manifest
    while missing and step is not None:
        stored = joblib.load(io.BytesIO(registry.file(step, ESTIMATORS_FILE)))
        found |= {series: stored[series] for series in missing & stored.keys()}
        missing -= stored.keys()
        step = registry.manifest(step.based_on) if step.based_on else None
    return {series: found[series] for series in sorted(found)}


def _passed_parity(fleet: Fleet) -> tuple[Fleet, float]:
    differences = parity(fleet.fitted)
    good = [fit for fit in fleet.fitted if differences[fit.windows.series] <= PARITY_TOLERANCE]
    failed = [
        Refusal(
            *fit.windows.series,
            len(fit.windows.start_us),
            f"the bank differs from scikit-learn by {differences[fit.windows.series]:.2g} of max(1, nu n); "
            f"at most {PARITY_TOLERANCE:g} is allowed",
        )
        for fit in fleet.fitted
        if not differences[fit.windows.series] <= PARITY_TOLERANCE
    ]
    refused = sorted([*fleet.refused, *failed], key=lambda refusal: (refusal.device, refusal.sensor))
    worst = max((differences[fit.windows.series] for fit in good), default=0.0)
    return Fleet(good, refused), worst


def _dump(estimators: "dict[Series, Pipeline]") -> bytes:
    import joblib

    buffer = io.BytesIO()
    joblib.dump(estimators, buffer, compress=("zlib", 1))
    return buffer.getvalue()
