"""What the term for stability is for: small networks trained with it and without, on a film with known motion."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.unit.stylenets import CPU, vgg_state
from training.style.evaluate import Scores, evaluate, synthetic_picture
from training.style.losses import StyleTarget
from training.style.network import Architecture
from training.style.pictures import Photos, read_picture, scale_to
from training.style.run import mixed_pays
from training.style.train import Trainer, TrainingOptions
from training.style.vgg import LossNetwork, load_loss_network

pytestmark = [pytest.mark.integration, pytest.mark.scheduled, pytest.mark.timeout(900)]

OPTIONS = TrainingOptions(architecture=Architecture(width=8, blocks=1, ends=5), learning_rate=3e-3, scales=1)
_DATA = Path(__file__).parents[2].parent / "shared/data/style"
_LEAST_FALL = 0.3
_MOST_STYLE_GIVEN_UP = 0.1
_TEST_PHOTOS = 3


class Material(NamedTuple):
    photos: list[Tensor]
    style: Tensor
    loss_network: LossNetwork


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors this small only wait for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def drawn() -> Material:
    """Drawn photos and a grainy picture, seen by random convolutions."""
    grain = 0.4 * torch.from_numpy(np.random.default_rng(0).standard_normal((3, 160, 224), np.float32))
    style = (synthetic_picture(160, 224, seed=99).square().flip(0) + grain).clamp(0, 1)
    photos = [synthetic_picture(160, 240, seed=number) for number in range(12)]
    return Material(photos, style, LossNetwork(vgg_state(8), device=CPU))


def painted() -> Material:
    """Photos and a painting, seen by VGG-19, where they are at hand."""
    if not _DATA.exists():
        pytest.skip(f"needs photos, a painting and weights of VGG-19 in {_DATA}")
    photos = [read_picture(path) for path in sorted(_DATA.glob("photos/*.jpg"))[:30]]
    style = scale_to(read_picture(_DATA / "paintings/starry-night.jpg"), 320)
    dtype = torch.bfloat16 if mixed_pays(CPU) else torch.float32
    weights = _DATA / "weights/vgg_normalised_conv3_1.pth"
    return Material(photos, style, load_loss_network(weights, device=CPU, dtype=dtype))


def scores(material: Material, options: TrainingOptions) -> Scores:
    photos, style, loss_network = material
    trained_on = Photos(photos[:-_TEST_PHOTOS], options.crop)
    trainer = Trainer(
        options, photos=trained_on, style=style, loss_network=loss_network, device=CPU, mixed=mixed_pays(CPU)
    )
    for _ in range(options.steps):
        trainer.advance()
    target = StyleTarget.of(style, loss_network, scales=options.scales)
    return evaluate(trainer.network, photos[-_TEST_PHOTOS:], target, loss_network)


@pytest.mark.parametrize(
    ("read", "options", "seeds"),
    [
        (drawn, msgspec.structs.replace(OPTIONS, steps=80, crop=64, stability_weight=1.0), 3),
        (painted, msgspec.structs.replace(OPTIONS, steps=200, crop=96, stability_weight=10.0), 2),
    ],
    ids=["drawn", "painted"],
)
def test_the_term_for_stability_takes_flicker_away_and_leaves_the_style(
    read: Callable[[], Material], options: TrainingOptions, seeds: int
) -> None:
    material = read()

    def both(weight: float) -> tuple[float, float]:
        """E_warp and style loss, means over seeds: networks this small differ much from seed to seed."""
        changed = [msgspec.structs.replace(options, stability_weight=weight, seed=seed) for seed in range(seeds)]
        found = [scores(material, each) for each in changed]
        return float(np.mean([each.warp_error for each in found])), float(np.mean([each.style for each in found]))

    (flicker, style), (flicker_without, style_without) = both(options.stability_weight), both(0.0)

    assert flicker <= (1 - _LEAST_FALL) * flicker_without
    assert style <= (1 + _MOST_STYLE_GIVEN_UP) * style_without
