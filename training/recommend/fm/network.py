"""The factorization machine in PyTorch: S. Rendle, "Factorization Machines" (ICDM 2010), degree 2."""

import numpy as np
import torch
from torch.nn import functional

from models.recommend.ratings import Float32
from training.recommend.fm.columns import Columns
from training.recommend.fm.model import FmOptions

_SPREAD = 0.05


class Machines:
    """Several machines side by side, each with a weight and a vector of factors per column.

    All parameters lie in one table, so that a step is one gather and one dense update: `table`, float32,
    (members * count + 1, factors + 1), the weight last, and a row of zeros at the end for columns that are not there.
    """

    def __init__(self, columns: Columns, options: FmOptions, start: float, device: torch.device) -> None:
        """Factors drawn by the options' seed; weights 0, so that every score is `start`."""
        generator = torch.Generator().manual_seed(options.seed)
        self._factors = options.factors
        self._members = options.members
        self._absent = options.members * columns.count
        table = torch.zeros(self._absent + 1, options.factors + 1)
        table[:-1, :-1] = torch.randn(self._absent, options.factors, generator=generator) * _SPREAD
        self.table = table.to(device).requires_grad_()
        self.offset = torch.full((options.members, 1), start, device=device, requires_grad=True)
        first = torch.arange(options.members)[:, None, None] * columns.count
        user, item = torch.from_numpy(columns.user), torch.from_numpy(columns.item)
        # (members, ids, columns of an id): the rows of the table.
        self._user = torch.where(user == columns.count, self._absent, user + first).to(device)
        self._item = torch.where(item == columns.count, self._absent, item + first).to(device)
        self._member = torch.arange(options.members, device=device)[:, None]

    def score(self, user: torch.Tensor, item: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores of (members, n) user and item places, and the sum of the squared factors of their columns.

        The second is float32, (members, n) too. Equation 1 of the paper, with the pairs by its lemma 3.1:
        2 * sum of products of pairs = (sum of vectors)^2 - sum of squared vectors.
        """
        rows = torch.cat([self._user[self._member, user], self._item[self._member, item]], dim=-1)
        active = functional.embedding(rows, self.table, padding_idx=self._absent)
        factors, weights = active[..., :-1], active[..., -1]
        squares = factors.square().sum((-1, -2))
        pairs = factors.sum(-2).square().sum(-1) - squares
        return self.offset + weights.sum(-1) + pairs / 2, squares

    @torch.no_grad()
    def mean_score(self, user: torch.Tensor, item: torch.Tensor, chunk: int = 65_536) -> torch.Tensor:
        """Mean over the members of the scores of n places: float32, (n,)."""
        parts = []
        for u, i in zip(torch.split(user, chunk), torch.split(item, chunk), strict=True):
            each = (self._members, len(u))
            parts.append(self.score(u.expand(each), i.expand(each))[0].mean(0))
        return torch.cat(parts)

    @torch.no_grad()
    def forget(self, columns: Columns) -> None:
        """Set the columns that no training rating has to zero: what they hold is the draw they began with."""
        untrained = torch.from_numpy(~columns.trained[:-1]).repeat(self._members).to(self.table.device)
        self.table[:-1][untrained] = 0

    @torch.no_grad()
    def folded(self) -> tuple[Float32, Float32, Float32, Float32, float]:
        """User vectors, user biases, item vectors, item biases and offset, as `FmModel` holds them."""
        user_vectors, user_biases = self._side(self._user)
        item_vectors, item_biases = self._side(self._item)
        return (
            user_vectors / np.float32(self._members),
            user_biases,
            item_vectors,
            item_biases,
            float(self.offset.mean()),
        )

    def _side(self, rows: torch.Tensor) -> tuple[Float32, Float32]:
        """Vectors, (ids + 1, members * factors), and biases of one side; pairs within it are part of the bias."""
        vectors = torch.zeros(rows.shape[1] + 1, self._members, self._factors)
        biases = torch.zeros(rows.shape[1] + 1)
        for member in range(self._members):
            active = functional.embedding(rows[member], self.table)
            factors, weights = active[..., :-1], active[..., -1]
            total = factors.sum(-2)
            pairs = (total.square() - factors.square().sum(-2)).sum(-1) / 2
            vectors[:-1, member] = total.cpu()
            biases[:-1] += (weights.sum(-1) + pairs).cpu() / self._members
        return np.ascontiguousarray(vectors.flatten(1).numpy()), biases.numpy()
