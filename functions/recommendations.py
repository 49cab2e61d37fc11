"""Triggers of the recommendation routes: decode, call a handler, encode.

Handlers, and all they need, are imported when a route is first called, as in functions.telemetry. Ids in paths are
percent-encoded; an id with a slash in it goes as `?user=` or `?item=` with `-` in the path, since hosts differ in
what they make of %2F.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import azure.functions as func

from functions.answers import answer, query_of

if TYPE_CHECKING:
    from functions.recommend.services import RecommendServices


def recommendations(services: Callable[[], "RecommendServices"]) -> func.Blueprint:
    """The blueprint. `services` is called in every invocation, so it caches."""
    blueprint = func.Blueprint()
    _add_users(blueprint, services)
    _add_items(blueprint, services)
    _add_bodies(blueprint, services)
    return blueprint


def _add_users(blueprint: func.Blueprint, services: Callable[[], "RecommendServices"]) -> None:
    @blueprint.route("users/{id}/recommendations", methods=["GET"])
    def recommend_user(req: func.HttpRequest) -> func.HttpResponse:
        """`GET /api/users/{id}/recommendations?k=&exclude=&genre=&explain=&variant=&page=`."""
        from functions.recommend.lists import recommend

        return answer(lambda: recommend(_named(req, "user"), query_of(req), services()))

    @blueprint.route("users/{id}", methods=["DELETE"])
    def forget_user(req: func.HttpRequest) -> func.HttpResponse:
        """`DELETE /api/users/{id}`: profile removed, earlier ratings used no more. Safe to repeat."""
        from functions.recommend.feedback import forget

        return answer(lambda: forget(_named(req, "user"), services()))


def _add_items(blueprint: func.Blueprint, services: Callable[[], "RecommendServices"]) -> None:
    @blueprint.route("items/{id}/similar", methods=["GET"])
    def similar_items(req: func.HttpRequest) -> func.HttpResponse:
        """`GET /api/items/{id}/similar?k=&exclude=&genre=&variant=`."""
        from functions.recommend.items import similar

        return answer(lambda: similar(_named(req, "item"), query_of(req), services()))

    @blueprint.route("items/popular", methods=["GET"])
    def popular_items(req: func.HttpRequest) -> func.HttpResponse:
        """`GET /api/items/popular?k=&exclude=&genre=&variant=`."""
        from functions.recommend.items import popular

        return answer(lambda: popular(query_of(req), services()))

    @blueprint.route("variants", methods=["GET"])
    def variant_counts(req: func.HttpRequest) -> func.HttpResponse:
        """`GET /api/variants`: shares of the variants, and how often each answered."""

        def count() -> object:
            here = services()
            return here.counter.totals(here.variants)

        return answer(count)


def _add_bodies(blueprint: func.Blueprint, services: Callable[[], "RecommendServices"]) -> None:
    @blueprint.route("recommendations", methods=["POST"])
    def recommend_ratings(req: func.HttpRequest) -> func.HttpResponse:
        """`POST /api/recommendations`: for the ratings in the body."""
        from functions.recommend.lists import recommend_for

        return answer(lambda: recommend_for(req.get_body(), services()))

    @blueprint.route("ratings", methods=["POST"])
    def rate_item(req: func.HttpRequest) -> func.HttpResponse:
        """`POST /api/ratings`: at least once per key; see `rate` for why that is harmless."""
        from functions.recommend.feedback import rate

        return answer(lambda: rate(req.get_body(), services()))

    @blueprint.route("predictions", methods=["POST"])
    def predict_likes(req: func.HttpRequest) -> func.HttpResponse:
        """`POST /api/predictions`: for given pairs, or all items that a user has not rated."""
        from functions.recommend.predictions import predict

        return answer(lambda: predict(req.get_body(), services()))


def _named(req: func.HttpRequest, what: str) -> str | None:
    """The id in the path; where that is `-`, the one in the query if there is one."""
    id: str | None = req.route_params.get("id")
    return query_of(req).get(what, id) if id == "-" else id
