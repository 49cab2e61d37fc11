"""How probable it is that a user likes an item: for given pairs, or for all items that the user has not rated."""

import numpy as np

from functions.recommend.lists import read_profile
from functions.recommend.services import RecommendServices
from functions.recommend.wishes import decode_body
from models.contracts.recommendations import Basis, Prediction, PredictionRequest, Predictions
from models.errors import BadInput, TryLater
from models.inference.fm import UNKNOWN, Machine

VARIANT = "fm"


def predict(body: bytes, here: RecommendServices) -> Predictions:
    """Predictions of a PredictionRequest. Reading changes nothing.

    A user or item that the version does not know is answered for as an average one, and `known` says so. Raises
    BadInput, or TryLater while no machine is live.
    """
    request = decode_body(body, PredictionRequest)
    if (request.pairs is None) == (request.user is None):
        raise BadInput("body: expected either pairs or user")
    machine = here.machine.current()
    if machine is None:
        raise TryLater("no factorization machine is live: train one (penstock train fm --promote)", retry_after_s=5.0)
    threshold = machine.threshold if request.threshold is None else request.threshold
    if request.pairs is not None:
        users, items = [pair.user for pair in request.pairs], [pair.item for pair in request.pairs]
        predictions = _pairs(machine, users, items, threshold)
    else:
        assert request.user is not None
        seen = set(read_profile(here.state, request.user).ratings)
        predictions = _unseen(machine, request.user, seen, request.k, threshold)
    return Predictions(
        predictions=predictions,
        threshold=threshold,
        model_version=machine.version,
        variant=VARIANT,
        reason=Basis.PREDICTION,
    )


def _pairs(machine: Machine, users: list[str], items: list[str], threshold: float) -> list[Prediction]:
    user, item = machine.places(users, items)
    probability = machine.probability(user, item)
    return [
        Prediction(
            user=users[i],
            item=items[i],
            title=machine.catalogue.titles[item[i]] if item[i] != UNKNOWN else "",
            probability=float(probability[i]),
            likes=bool(probability[i] >= threshold),
            known=bool(user[i] != UNKNOWN and item[i] != UNKNOWN),
        )
        for i in range(len(users))
    ]


def _unseen(machine: Machine, user: str, seen: set[str], k: int, threshold: float) -> list[Prediction]:
    """The k most probable ones, equal ones in the order of the catalogue."""
    items = [item for item in machine.catalogue.items if item not in seen]
    if not items:
        return []
    probability = machine.probability(*machine.places([user] * len(items), items))
    best = np.argsort(-probability, kind="stable")[:k].tolist()
    return _pairs(machine, [user] * len(best), [items[place] for place in best], threshold)
