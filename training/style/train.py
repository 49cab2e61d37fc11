"""Training step by step: the same options give the same network, broken off and resumed or not."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import torch
from torch import Tensor

from models.errors import BadInput
from training.style.losses import StyleTarget, content_loss, features_at, total_variation
from training.style.network import REDUCTION, Architecture, StyleNetwork, initialised
from training.style.pictures import Photos
from training.style.stability import stability_loss
from training.style.vgg import LossNetwork

_WARM_UP_STEPS: Final = 20


class TrainingOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a training run depends on, beside its pictures.

    style_size: the style picture's shorter side in pixels; the larger, the larger its strokes. start: where the first
    weights came from, "" for random ones.
    """

    architecture: Architecture
    steps: int = 1000
    batch: int = 2
    crop: int = 128
    learning_rate: float = 1e-3
    content_weight: float = 0.3
    style_weight: float = 1.0
    variation_weight: float = 0.3
    stability_weight: float = 10.0
    style_size: int = 320
    scales: int = 2
    seed: int = 0
    start: str = ""


class Losses(msgspec.Struct, frozen=True):
    """Unweighted losses of one step; `stability` is the mean squared difference of a pixel and its moved self."""

    content: float
    style: float
    variation: float
    stability: float


class Trainer:
    """A run: `advance` does a step, `save` and `resume` keep and take up the whole state."""

    def __init__(
        self,
        options: TrainingOptions,
        *,
        photos: Photos,
        style: Tensor,
        loss_network: LossNetwork,
        device: torch.device,
        mixed: bool = False,
        start: StyleNetwork | None = None,
    ) -> None:
        """`style`: float [3, h, w] already at its size. `mixed`: compute the convolutions in bfloat16."""
        if options.crop % REDUCTION:
            raise BadInput(f"crop: expected a multiple of {REDUCTION} pixels, got {options.crop}")
        self.options = options
        self.step = 0
        self.network = (start or initialised(options.architecture, options.seed)).to(device)
        self._photos, self._loss_network, self._device, self._mixed = photos, loss_network, device, mixed
        self._target = StyleTarget.of(style.to(device), loss_network, scales=options.scales)
        self._optimiser = torch.optim.Adam(self.network.parameters(), lr=options.learning_rate)

    def advance(self) -> Losses:
        """One step of Adam on a batch that depends on the seed and the step's number alone."""
        options = self.options
        photos = self._photos.batch(options.batch, seed=options.seed, step=self.step).to(self._device)
        for group in self._optimiser.param_groups:
            group["lr"] = options.learning_rate * rate_at(self.step, options.steps)
        self._optimiser.zero_grad(set_to_none=True)
        content, style, variation, stability = self._losses(photos, self.step)
        total = (
            options.content_weight * content
            + options.style_weight * style
            + options.variation_weight * variation
            + options.stability_weight * stability
        )
        if not math.isfinite(float(total.detach())):
            raise BadInput(f"training left the finite numbers at step {self.step}: try a smaller learning rate")
        total.backward()  # type: ignore[no-untyped-call]  # torch's own
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimiser.step()
        self.step += 1
        return Losses(*(float(value.detach()) for value in (content, style, variation, stability)))

    def _losses(self, photos: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        with torch.no_grad():
            wanted = self._loss_network(photos)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._mixed):
            styled = self.network(photos)
        styled = styled.float()
        features = features_at(styled, self._loss_network, self.options.scales)
        stability = torch.zeros((), device=self._device)
        if self.options.stability_weight:
            random = np.random.default_rng([self.options.seed, step, 1])
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._mixed):
                half = max(1, len(photos) // 2)  # the second pass costs as much as the first
                stability = stability_loss(self.network, photos[:half], styled[:half], random)
        return (
            content_loss(features[0], wanted),
            self._target.loss(features),
            total_variation(styled),
            stability,
        )

    def save(self, path: Path) -> None:
        """Write the state to `path` in one move: a break in between leaves the one before."""
        state = {
            "options": msgspec.json.encode(self.options).decode(),
            "step": self.step,
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }
        new = path.with_name(path.name + ".new")
        torch.save(state, new)
        new.replace(path)

    def resume(self, path: Path) -> None:
        """Take up the state at `path`. Raises BadInput if it is of a run with other options."""
        state = _checkpoint(path)
        if (options := msgspec.json.decode(state["options"], type=TrainingOptions)) != self.options:
            raise BadInput(
                f"{path.name}: it belongs to a run with other options ({options}); delete it to start anew"
            )
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]


def rate_at(step: int, steps: int) -> float:
    """The learning rate's share of its highest value: up over the first steps, then down along a cosine to 2 %."""
    falling = 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps))))
    return min(1.0, (step + 1) / _WARM_UP_STEPS) * (0.02 + 0.98 * falling)


def load_network(path: Path) -> StyleNetwork:
    """The network of a checkpoint. Raises BadInput if the file is none."""
    state = _checkpoint(path)
    network = StyleNetwork(msgspec.json.decode(state["options"], type=TrainingOptions).architecture)
    network.load_state_dict(state["network"])
    return network


def train(
    trainer: Trainer,
    *,
    checkpoint: Path,
    clock: Callable[[], float],
    every_s: float = 60.0,
    on_step: Callable[[int, Losses], None] = lambda step, losses: None,
    on_save: Callable[[StyleNetwork, int], None] = lambda network, step: None,
) -> None:
    """Advance to the last step, from `checkpoint` if there is one, writing it at least every `every_s` seconds.

    An interrupt (Ctrl-C) saves first. `clock`: monotonic seconds.
    """
    if checkpoint.exists():
        trainer.resume(checkpoint)
    saved_at = clock()
    try:
        while trainer.step < trainer.options.steps:
            on_step(trainer.step, trainer.advance())
            if clock() - saved_at >= every_s:
                trainer.save(checkpoint)
                on_save(trainer.network, trainer.step)
                saved_at = clock()
    finally:
        trainer.save(checkpoint)
    on_save(trainer.network, trainer.step)


def _checkpoint(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or not {"options", "step", "network", "optimiser"} <= state.keys():
            raise ValueError("something else")
    except Exception as error:
        # torch.load raises whatever the bytes lead to.
        raise BadInput(f"{path.name}: expected a checkpoint of `penstock train style`: {error}") from error
    return state
