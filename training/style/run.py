"""A whole training: pictures read, the network trained, tried on photos that it has not seen, and made into files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import torch
from torch import Tensor

from models.errors import BadInput
from training.style.bundle import Bundle, Trained, bundle
from training.style.evaluate import evaluate
from training.style.graph import network_of, rounded
from training.style.losses import StyleTarget
from training.style.network import REDUCTION, Quality, StyleNetwork
from training.style.pictures import Photos, read_photos, read_picture, resize, scale_to, write_picture
from training.style.train import Losses, Trainer, TrainingOptions, train
from training.style.vgg import LossNetwork, check_activations, load_loss_network

_TEST_SHARE: Final = 15
_MOST_TEST_PHOTOS: Final = 20
_MOST_PREVIEWS: Final = 3


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """The files that a training reads. start: a graph of this package to begin with, or None."""

    picture: Path
    photos: Path
    weights: Path
    start: Path | None = None


@dataclass(frozen=True)
class Loaded:
    """What was read. training, test: photos [3, h, w]; style: the picture at its size."""

    training: Sequence[Tensor]
    test: Sequence[Tensor]
    style: Tensor
    loss_network: LossNetwork
    start: StyleNetwork | None
    device: torch.device

    @classmethod
    def read(cls, sources: Sources, options: TrainingOptions, device: torch.device) -> "Loaded":
        """Read and check all of it. Raises BadInput, saying what was expected. The last 15th is the test."""
        photos = read_photos(sources.photos)
        if len(photos) < 2:
            raise BadInput(f"{sources.photos}: expected at least two photos, one of them to test with, found one")
        count = min(_MOST_TEST_PHOTOS, max(1, len(photos) // _TEST_SHARE))
        training, test = photos[:-count], photos[-count:]
        dtype = torch.bfloat16 if mixed_pays(device) else torch.float32
        loss_network = load_loss_network(sources.weights, device=device, dtype=dtype)
        check_activations(
            loss_network,
            torch.stack([resize(photo, options.crop, options.crop) for photo in test[:8]]).to(device),
            sources.weights.name,
        )
        start = network_of(sources.start.read_bytes()) if sources.start else None
        if start is not None and start.architecture != options.architecture:
            raise BadInput(f"{sources.start}: expected a network of {options.architecture}, got {start.architecture}")
        return cls(
            training=training,
            test=test,
            style=scale_to(read_picture(sources.picture), options.style_size),
            loss_network=loss_network,
            start=start,
            device=device,
        )

    def trainer(self, options: TrainingOptions) -> Trainer:
        """A trainer at step 0."""
        return Trainer(
            options,
            photos=Photos(self.training, options.crop),
            style=self.style,
            loss_network=self.loss_network,
            device=self.device,
            mixed=mixed_pays(self.device),
            start=self.start,
        )


def train_style(
    loaded: Loaded,
    options: TrainingOptions,
    *,
    style: str,
    quality: Quality,
    title: str,
    licence: str,
    work: Path,
    clock: Callable[[], float],
    on_step: Callable[[int, Losses], None] = lambda step, losses: None,
) -> tuple[Bundle, Trained]:
    """Train to the last step, going on from `work`/checkpoint.pt, previews beside it; then measure and export."""
    trainer = loaded.trainer(options)
    previews = [fitted(photo) for photo in loaded.test[:_MOST_PREVIEWS]]

    def preview(network: StyleNetwork, step: int) -> None:
        with torch.no_grad():
            for number, photo in enumerate(previews):
                styled = network(photo[None].to(loaded.device))[0]
                write_picture(styled, work / f"preview-{number}.png")

    train(trainer, checkpoint=work / "checkpoint.pt", clock=clock, on_step=on_step, on_save=preview)
    return finish(trainer.network, loaded, options, style=style, quality=quality, title=title, licence=licence)


def finish(
    network: StyleNetwork,
    loaded: Loaded,
    options: TrainingOptions,
    *,
    style: str,
    quality: Quality,
    title: str,
    licence: str,
) -> tuple[Bundle, Trained]:
    """The files of a trained network and its figures, measured on the test photos."""
    final = rounded(network)
    made = bundle(final, loaded.test[:_MOST_PREVIEWS], style=style, quality=quality, title=title, licence=licence)
    target = StyleTarget.of(loaded.style.to(loaded.device), loaded.loss_network, scales=options.scales)
    scores = evaluate(final.to(loaded.device), loaded.test, target, loaded.loss_network)
    return made, Trained(
        quality=quality,
        options=options,
        scores=scores,
        levels=made.levels,
        size_bytes=len(made.graph),
        parameters=sum(weight.numel() for weight in final.parameters()),
    )


def fitted(photo: Tensor) -> Tensor:
    """The photo [3, h, w] at the nearest size that the network takes."""
    height, width = (max(16, side // REDUCTION * REDUCTION) for side in photo.shape[1:])
    return resize(photo, height, width)


def mixed_pays(device: torch.device) -> bool:
    """Whether bfloat16 is faster there: GPUs, and CPUs with units for it."""
    if device.type == "cuda":
        return True
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
