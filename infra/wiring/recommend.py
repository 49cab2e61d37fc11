"""The part of the function app's composition root that recommends: loaded when one of its routes is first called."""

from functools import partial

from functions.recommend.services import RecommendServices
from functions.recommend.variants import VariantCounter, Variants, parse_shares
from functions.services import Services
from infra.settings import Settings
from models.inference.fm import load_machine
from models.inference.live import Live
from models.inference.recommender import load_recommender
from models.registry import Registry


def build_recommend(base: Services) -> RecommendServices:
    """Services on the clients of `base` and the settings of this process. Raises ConfigurationError."""
    settings = Settings()
    shares = parse_shares(settings.recommender_variants or "", settings.recommender)
    follow = partial(Live, clock=base.clock, refresh_s=settings.model_refresh_s)
    models = {share.model: follow(Registry(base.blobs, share.model), load=load_recommender) for share in shares}
    return RecommendServices(
        state=base.state,
        ratings=base.ratings,
        clock=base.clock,
        variants=Variants(shares, models),
        counter=VariantCounter(base.state, base.clock),
        machine=follow(Registry(base.blobs, settings.fm), load=load_machine),
    )
