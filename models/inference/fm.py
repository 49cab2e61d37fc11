"""One version of a factorization machine, loaded: the probability that a user likes an item."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.inference.sessions import open_session
from models.manifest import Manifest
from models.recommend.fm_bundle import GRAPH_FILE, FmBundle, decode_fm, threshold_of
from models.recommend.ratings import Float32, Int64
from models.registry import Registry

UNKNOWN: Final = -1
"""Place of an id that the version does not know: the graph then answers for the average user or item."""
_INPUTS: Final = ["user", "item"]


class Machine:
    """Immutable and safe to call from several threads."""

    def __init__(self, manifest: Manifest, bundle: FmBundle) -> None:
        """Raises ModelRefused if the graph cannot be used."""
        self.version = manifest.version
        self.model = manifest.model
        self.threshold = threshold_of(manifest)
        self.catalogue = bundle.catalogue
        self._session: Any = open_session(bundle.graph, GRAPH_FILE, _INPUTS)
        self._users = {user: place for place, user in enumerate(bundle.users)}
        self._items = {item: place for place, item in enumerate(bundle.catalogue.items)}

    def __len__(self) -> int:
        return len(self._items)

    def places(self, users: Sequence[str], items: Sequence[str]) -> tuple[Int64, Int64]:
        """Places of n users and n items, UNKNOWN where the version knows none: int64, (n,) each."""
        return (
            np.array([self._users.get(user, UNKNOWN) for user in users], dtype=np.int64),
            np.array([self._items.get(item, UNKNOWN) for item in items], dtype=np.int64),
        )

    def probability(self, user: Int64, item: Int64) -> Float32:
        """Calibrated probabilities of n pairs of places (int64, (n,)): float32, (n,)."""
        (found,) = self._session.run(["probability"], {"user": user, "item": item})
        probability: npt.NDArray[np.float32] = found
        return probability


def load_machine(registry: Registry, version: str) -> Machine:
    """The version, ready to answer. Raises NotFound, or ModelRefused with the reason."""
    manifest = registry.manifest(version)
    return Machine(manifest, decode_fm(manifest, lambda name: registry.file(manifest, name)))
