"""ALS on one machine: the implicit objective by the `implicit` library, the explicit one in NumPy. Needs no Java."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from models.errors import ConfigurationError
from models.recommend.ratings import Float32, Ratings
from training.recommend.als import AlsModel, AlsOptions, check_distinct, check_factors, check_trainable, suited

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Progress = Callable[[int], None]


def fit_native(
    train: Ratings, options: AlsOptions, *, threads: int = 0, progress: Progress = lambda _: None
) -> AlsModel:
    """Factors fitted on `train`, with options as `suited` gives them. `progress` is called after each iteration, with
    how many are done.

    User vectors are the exact solution for the final item vectors: folding a user's training ratings in gives the
    stored vector again. Equal input and options give equal factors on one machine, whatever `threads` is (0: one per
    core). Raises BadInput if there is nothing to fit, a (user, item) pair comes twice, a rating cannot be used as a
    confidence, or the factors are not finite; ConfigurationError if the `recommend` extra is not installed.
    """
    matrix = _matrix(train, options)
    found = suited(options, train)
    fit = _implicit if options.objective == "implicit" else _explicit
    with one_blas_thread():
        users, items = fit(matrix, found, threads or os.cpu_count() or 1, progress)
    for factors in (users, items):
        check_factors(factors, found)
    return AlsModel(users, items, found, "native", suited=found is not options)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS without threads of its own: below the threads over users and items they slow a fit down tenfold.

    The limit is the process's. Fits in several threads at once must all run inside one limit, or the first that ends
    lifts it for the others. Raises ConfigurationError if the `recommend` extra is not installed.
    """
    try:
        import implicit.cpu.als  # noqa: F401  # loads a BLAS, which the limit must find
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise ConfigurationError(
            f"{error}; install what training needs: pip install 'penstock[recommend]'"
        ) from error
    with threadpool_limits(1, "blas"):
        yield


def _matrix(train: Ratings, options: AlsOptions) -> "csr_array":
    """Ratings as float32, (n_users, n_items); under confidence "ones" 1 stands for each."""
    from scipy.sparse import csr_array

    check_trainable(train, options)
    ones = options.objective == "implicit" and options.confidence == "ones"
    value = np.ones_like(train.value) if ones else train.value
    shape = (len(train.users), len(train.items))
    matrix = csr_array((value, (train.user, train.item)), shape=shape)
    check_distinct(train, matrix.nnz)
    return matrix


def _implicit(matrix: "csr_array", options: AlsOptions, threads: int, progress: Progress) -> tuple[Float32, Float32]:
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    als = AlternatingLeastSquares(
        factors=options.factors,
        regularization=options.regularization,
        alpha=options.alpha,
        iterations=options.iterations,
        num_threads=threads,
        random_state=options.seed,
    )
    user_items = csr_matrix(matrix)
    als.fit(user_items, show_progress=False, callback=lambda iteration, *_: progress(iteration + 1))
    users = als.recalculate_user(np.arange(matrix.shape[0]), user_items)
    return users, als.item_factors


def _explicit(matrix: "csr_array", options: AlsOptions, threads: int, progress: Progress) -> tuple[Float32, Float32]:
    """Regularisation grows with the number of ratings, as in the paper (its equation 3) and in Spark."""
    by_user, by_item = matrix, matrix.T.tocsr()
    assert options.regularization is not None
    rng = np.random.default_rng(options.seed)
    items = rng.random((matrix.shape[1], options.factors), dtype=np.float32)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    with ThreadPoolExecutor(threads) as pool:
        for iteration in range(options.iterations):
            users = _solved(by_user, items, options.regularization, pool, threads)
            items = _solved(by_item, users, options.regularization, pool, threads)
            progress(iteration + 1)
        users = _solved(by_user, items, options.regularization, pool, threads)
    return users, items


def _solved(
    rows: "csr_array", other: Float32, regularization: float, pool: ThreadPoolExecutor, threads: int
) -> Float32:
    """One vector per row: ridge regression of its values on the vectors of `other` that its columns name."""
    found = np.zeros((rows.shape[0], other.shape[1]), dtype=np.float32)
    start, columns, values = rows.indptr, rows.indices, rows.data
    ridge = np.eye(other.shape[1], dtype=np.float32) * np.float32(regularization)

    def solve(first: int, last: int) -> None:
        for row in range(first, last):
            begin, end = start[row], start[row + 1]
            if begin < end:
                chosen = other[columns[begin:end]]
                gram = chosen.T @ chosen + ridge * (end - begin)
                found[row] = np.linalg.solve(gram, chosen.T @ values[begin:end])

    # Parts of equal numbers of ratings, not of rows: a few rows hold most of them.
    bounds = np.searchsorted(start, np.linspace(0, rows.nnz, 8 * threads + 1)).tolist()
    bounds[0], bounds[-1] = 0, rows.shape[0]
    list(pool.map(solve, bounds[:-1], bounds[1:]))
    return found
