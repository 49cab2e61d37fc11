"""Items that are like one, and items that are popular. Reading changes nothing."""

from collections.abc import Mapping

from functions.parameters import checked_id
from functions.recommend.lists import described, masked
from functions.recommend.services import RecommendServices
from functions.recommend.wishes import Wish
from models.contracts.recommendations import Basis, ItemList
from models.errors import BadInput, NotFound


def similar(item: str | None, query: Mapping[str, str], here: RecommendServices) -> ItemList:
    """The k items most like one, by the angle between vectors. Parameters k, exclude, genre, variant.

    Raises NotFound if the live version does not know the item.
    """
    item = checked_id(item, "item")
    wish = _first_page(query)
    share = here.variants.choose(item, wish.variant)
    model = here.variants.recommender(share)
    place = model.place(item)
    if place is None:
        raise NotFound(f"model {model.model} {model.version} knows no item {item!r}")
    best = model.similar(place, masked(model, wish), wish.k)
    here.counter.count(share, Basis.SIMILAR)
    return ItemList(
        items=described(model, best),
        model_version=model.version,
        variant=share.variant,
        reason=Basis.SIMILAR,
        item=item,
    )


def popular(query: Mapping[str, str], here: RecommendServices) -> ItemList:
    """The k items with most ratings in training. Parameters k, exclude, genre, variant."""
    wish = _first_page(query)
    share = here.variants.choose("", wish.variant)
    model = here.variants.recommender(share)
    best = model.popular(masked(model, wish), wish.k)
    here.counter.count(share, Basis.POPULAR)
    return ItemList(
        items=described(model, best), model_version=model.version, variant=share.variant, reason=Basis.POPULAR
    )


def _first_page(query: Mapping[str, str]) -> Wish:
    wish = Wish.of_query(query)
    if wish.page != 1 or wish.explain:
        raise BadInput("page and explain belong to recommendations for a user")
    return wish
