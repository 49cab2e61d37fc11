"""A user's vector from ratings, by the normal equations that the item factors were trained with."""

import numpy as np

from models.inference.sessions import open_session
from models.recommend.bundle import FOLDIN_FILE
from models.recommend.equations import Equations, Float64, Terms
from models.recommend.ratings import Float32, Int64

_INPUTS = ["rated", "weight", "target", "basis", "spectrum", "ridge"]


class FoldIn:
    """Folds ratings into one version's item factors. Immutable and safe to call from several threads."""

    def __init__(self, graph: bytes, factors: Float32, equations: Equations) -> None:
        """`factors`: float32, (n, f). Raises ModelRefused if the graph is another one."""
        self.equations = equations
        self._factors = factors
        self._session = open_session(graph, FOLDIN_FILE, _INPUTS)
        self._gram = equations.gram(factors)
        spectrum, basis = np.linalg.eigh(self._gram)
        # Of a Gram matrix no eigenvalue is below 0 but for rounding.
        self._spectrum: Float64 = np.maximum(spectrum.astype(np.float64), 0.0)
        self._basis: Float64 = np.ascontiguousarray(basis, dtype=np.float64)

    def user(self, places: Int64, ratings: Float32) -> Float32:
        """The vector, float32 (f,), of m ratings (float32) of items at m places (int64); zeros for none."""
        terms = self.equations.terms(ratings)
        (user,) = self._session.run(
            None,
            {
                "rated": self._factors[places],
                "weight": terms.weight,
                "target": terms.target,
                "basis": self._basis,
                "spectrum": self._spectrum,
                "ridge": np.array([terms.ridge], dtype=np.float64),
            },
        )
        vector: Float32 = user
        return vector

    def contributions(self, places: Int64, ratings: Float32, chosen: Int64) -> Float64:
        """What each of m rated items adds to the score of each of c chosen ones: float64, (m, c).

        Hu, Koren & Volinsky (2008), eq. 7: with A the matrix of the normal equations, v_j^T x is the sum over i of
        t_i v_j^T A^-1 v_i. Columns add up to the scores of the vector that `user` gives.
        """
        rated, terms = self._factors[places].astype(np.float64), self.equations.terms(ratings)
        chosen_t = self._factors[chosen].T.astype(np.float64)
        solved = np.linalg.solve(self._matrix(rated, terms), chosen_t)
        return np.multiply(terms.target[:, None], rated @ solved, dtype=np.float64)

    def reference(self, places: Int64, ratings: Float32) -> Float64:
        """The vector by LAPACK in float64: what the graph is compared with at registration."""
        rated, terms = self._factors[places].astype(np.float64), self.equations.terms(ratings)
        right = rated.T @ terms.target.astype(np.float64)
        return np.asarray(np.linalg.solve(self._matrix(rated, terms), right), dtype=np.float64)

    def _matrix(self, rated: Float64, terms: Terms) -> Float64:
        weighted = terms.weight.astype(np.float64)[:, None] * rated
        matrix: Float64 = self._gram + terms.ridge * np.eye(len(self._gram)) + rated.T @ weighted
        return matrix
