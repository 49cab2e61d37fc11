"""Search of the best items of a catalogue: the port, and which search a version asks for."""

from collections.abc import Mapping
from typing import Final, Protocol

from models.errors import ModelRefused
from models.inference.topk import ExactSearch, TopK
from models.recommend.bundle import EXACT, AlsBundle, search_of
from models.recommend.ratings import Float32, Int64

FAISS: Final = "faiss-ivf"


class Search(Protocol):
    """The items of one version. Immutable and safe to call from several threads."""

    def top(self, user: Float32, masked: Int64, k: int) -> TopK:
        """The k best items for `user` (float32, (f,)), places in `masked` left out; fewer if fewer are left.

        Scores are exact; best first, equal scores by place. An approximate search may miss an item.
        """
        ...


def open_search(parameters: Mapping[str, int | float | str], bundle: AlsBundle) -> Search:
    """The search that the manifest names. Raises ModelRefused if it is unknown or its library is missing."""
    name = search_of(parameters)
    if name == EXACT:
        return ExactSearch(bundle.topk, bundle.factors)
    if name == FAISS and bundle.index is not None:
        from models.inference.approximate import ApproximateSearch

        return ApproximateSearch(bundle.index, bundle.factors, probes=int(parameters.get("probes", 0)))
    raise ModelRefused(f"parameter search: expected {EXACT} or {FAISS} with an index, got {name!r}")
