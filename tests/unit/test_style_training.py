"""Training of style networks: the losses, the loss network's file, steps, breaks and what they lead to."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from models.errors import BadInput
from tests.unit.stylenets import CPU, TINY, vgg_state, write_photos, write_vgg
from training.style.evaluate import PAN, pan, synthetic_picture, warp_error
from training.style.losses import StyleTarget, content_loss, features_at, strokes
from training.style.network import initialised
from training.style.pictures import Photos, read_photos, read_picture, scale_to, to_bytes, write_picture
from training.style.run import Loaded, Sources
from training.style.stability import moved, random_motion, seen_before
from training.style.train import Losses, Trainer, TrainingOptions, train
from training.style.vgg import LossNetwork, check_activations, load_loss_network, mean_activations

OPTIONS = TrainingOptions(architecture=TINY, steps=4, batch=2, crop=64, style_size=64, scales=1)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors this small only wait for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def loss_network() -> LossNetwork:
    return LossNetwork(vgg_state(8), device=CPU)


@pytest.fixture(scope="module")
def photos() -> Photos:
    return Photos([synthetic_picture(80, 112, seed=number) for number in range(3)], 64)


def trainer(photos: Photos, loss_network: LossNetwork, options: TrainingOptions = OPTIONS) -> Trainer:
    style = scale_to(synthetic_picture(96, 128, seed=9), options.style_size)
    return Trainer(options, photos=photos, style=style, loss_network=loss_network, device=CPU)


def test_right_weights_are_read_and_have_mean_activations_near_one(tmp_path: Path) -> None:
    network = load_loss_network(write_vgg(tmp_path), device=CPU)
    photos = torch.stack([synthetic_picture(64, 64, seed=number) for number in range(3)])

    check_activations(network, photos, "vgg.pth")

    assert all(0.3 < mean < 3 for mean in mean_activations(network, photos))


def test_a_file_that_holds_no_weights_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "vgg.pth").write_bytes(b"not a file of PyTorch")
    with pytest.raises(BadInput, match=r"vgg\.pth: expected a state dict of a normalised VGG-19 to relu3_1"):
        load_loss_network(tmp_path / "vgg.pth", device=CPU)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            "9.weight",
            torch.zeros(128, 64, 1, 1),
            r"9\.weight should have the shape \(128, 64, 3, 3\), got \(128, 64, 1",
        ),
        ("16.bias", None, r"16\.bias should have the shape \(256,\), got None"),
        ("0.bias", torch.tensor([-0.485, -0.456, -0.406]), r"the bias of layer '0' is \[-0\.485"),
    ],
)
def test_weights_of_another_network_are_refused_with_what_was_found(
    tmp_path: Path, key: str, value: torch.Tensor | None, said: str
) -> None:
    state = vgg_state() | ({key: value} if value is not None else {})
    if value is None:
        del state[key]
    torch.save(state, tmp_path / "vgg.pth")
    with pytest.raises(BadInput, match=said):
        load_loss_network(tmp_path / "vgg.pth", device=CPU)


def test_weights_that_were_not_normalised_are_refused() -> None:
    state = vgg_state()
    state["5.weight"] = state["5.weight"] * 50
    network = LossNetwork(state, device=CPU)
    with pytest.raises(BadInput, match=r"over the photos they are relu1_1 \S+, relu1_2 \d\d"):
        check_activations(network, synthetic_picture(64, 64, seed=2)[None], "vgg.pth")


def test_strokes_and_their_slope_are_those_of_the_plain_formulas() -> None:
    features = torch.randn(2, 5, 6, 7, generator=torch.Generator().manual_seed(1)) + 2
    weights = torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(2))  # not symmetric

    def slope(statistics: Callable[[Tensor], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
        leaf = features.clone().requires_grad_()
        mean, covariance = statistics(leaf)
        (mean.square().sum() + (weights * covariance).sum()).backward()
        assert leaf.grad is not None
        return mean.detach(), covariance.detach(), leaf.grad

    def plain(leaf: Tensor) -> tuple[Tensor, Tensor]:
        flat = leaf.flatten(2)
        deviation = flat - flat.mean(2, keepdim=True)
        return flat.mean(2), deviation @ deviation.transpose(1, 2) / flat.shape[2]

    for found, expected in zip(slope(strokes), slope(plain), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_picture_has_its_own_strokes_and_content_and_not_another_s(loss_network: LossNetwork) -> None:
    one, other = synthetic_picture(64, 64, seed=1), synthetic_picture(64, 64, seed=2) ** 2
    target = StyleTarget.of(one, loss_network)
    own, others = (features_at(picture[None], loss_network, 2) for picture in (one, other))

    assert float(target.loss(own)) < 1e-3
    assert float(target.loss(others)) > 0.1
    assert float(content_loss(own[0], own[0])) == 0
    assert float(content_loss(others[0], own[0])) > 0.01


def test_training_lowers_the_style_loss(photos: Photos, loss_network: LossNetwork) -> None:
    run = trainer(photos, loss_network, msgspec.structs.replace(OPTIONS, steps=30, learning_rate=3e-3))
    losses = [run.advance() for _ in range(30)]
    first, last = (np.mean([each.style for each in part]) for part in (losses[:5], losses[-5:]))
    assert last < 0.8 * first


def test_a_run_that_was_broken_off_ends_with_the_same_network(
    tmp_path: Path, photos: Photos, loss_network: LossNetwork
) -> None:
    whole, broken, resumed = (trainer(photos, loss_network) for _ in range(3))
    train(whole, checkpoint=tmp_path / "whole.pt", clock=lambda: 0.0)

    def interrupt(step: int, losses: Losses) -> None:
        if step == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(broken, checkpoint=tmp_path / "broken.pt", clock=lambda: 0.0, on_step=interrupt)
    train(resumed, checkpoint=tmp_path / "broken.pt", clock=lambda: 0.0)

    assert resumed.step == whole.step == 4
    for name, weight in whole.network.state_dict().items():
        assert torch.equal(weight, resumed.network.state_dict()[name]), name


def test_another_seed_gives_another_network(photos: Photos, loss_network: LossNetwork) -> None:
    runs = [trainer(photos, loss_network, msgspec.structs.replace(OPTIONS, seed=seed)) for seed in (0, 1)]
    one, other = (run.network.tail.weight for run in runs)
    assert not torch.equal(one, other)


def test_a_checkpoint_of_other_options_is_refused(tmp_path: Path, photos: Photos, loss_network: LossNetwork) -> None:
    trainer(photos, loss_network).save(tmp_path / "checkpoint.pt")
    with pytest.raises(BadInput, match="belongs to a run with other options"):
        trainer(photos, loss_network, msgspec.structs.replace(OPTIONS, seed=1)).resume(tmp_path / "checkpoint.pt")


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, photos: Photos, loss_network: LossNetwork) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"")
    with pytest.raises(BadInput, match="expected a checkpoint"):
        trainer(photos, loss_network).resume(tmp_path / "checkpoint.pt")


def test_crops_depend_on_seed_and_step_alone(photos: Photos) -> None:
    assert torch.equal(photos.batch(3, seed=1, step=5), photos.batch(3, seed=1, step=5))
    assert not torch.equal(photos.batch(3, seed=1, step=5), photos.batch(3, seed=1, step=6))
    assert photos.batch(3, seed=1, step=5).shape == (3, 3, 64, 64)


def test_pictures_survive_a_file_and_are_read_in_name_order(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos", 3)
    (folder / "notes.txt").write_text("not a picture")
    found = read_photos(folder)
    assert [to_bytes(each).tolist() for each in found] == [
        to_bytes(synthetic_picture(80, 112, seed=number)).tolist() for number in range(3)
    ]


@pytest.mark.parametrize("content", [b"", b"text, not a picture"])
def test_a_file_that_is_no_picture_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "picture.jpg").write_bytes(content)
    with pytest.raises(BadInput, match=r"picture\.jpg: expected a picture"):
        read_picture(tmp_path / "picture.jpg")


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected a folder with pictures"):
        read_photos(tmp_path)


def test_what_is_tested_with_is_not_trained_on(tmp_path: Path) -> None:
    write_picture(synthetic_picture(96, 128, seed=9), tmp_path / "style.png")
    sources = Sources(
        picture=tmp_path / "style.png", photos=write_photos(tmp_path / "photos", 4), weights=write_vgg(tmp_path)
    )
    loaded = Loaded.read(sources, OPTIONS, CPU)
    assert (len(loaded.training), len(loaded.test)) == (3, 1)
    assert not any(torch.equal(loaded.test[0], photo) for photo in loaded.training)


def test_a_noiseless_pan_does_not_flicker_and_noise_does_by_twice_its_variance() -> None:
    picture = synthetic_picture(120, 160, seed=3) * 0.6 + 0.2
    still = pan(picture, count=4, height=80, width=100, seed=0, noise=0)
    noisy = pan(picture, count=4, height=80, width=100, seed=0, noise=0.02)

    assert still.shape == (4, 3, 80, 100)
    assert warp_error(still) == 0
    assert warp_error(noisy) == pytest.approx(2 * 0.02**2, rel=0.05)
    assert warp_error(still.flip(0)) > 1e-3, "the motion counts, with its direction"


def test_moving_by_whole_pixels_moves_every_pixel_exactly() -> None:
    picture = synthetic_picture(40, 60, seed=4)[None]
    across, down = PAN
    grid = torch.nn.functional.affine_grid(
        torch.tensor([[[1, 0, 2 * across / 60], [0, 1, 2 * down / 40]]]), [1, 3, 40, 60], align_corners=False
    )
    assert torch.allclose(
        moved(picture, grid)[..., : 40 - down, : 60 - across], picture[..., down:, across:], atol=1e-5
    )
    seen = seen_before(grid, margin=0)
    assert seen[0, 0, 20, 10] == 1
    assert seen[0, 0, 20, 59] == 0


def test_the_stability_term_sees_a_network_that_depends_on_where_it_stands(
    photos: Photos, loss_network: LossNetwork
) -> None:
    from training.style.stability import stability_loss

    class Fixed(torch.nn.Module):
        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return pictures + 0.3 * (torch.arange(pictures.shape[3]) % 2)

    pictures = photos.batch(4, seed=0, step=0)
    plain, fixed = torch.nn.Identity(), Fixed()
    by_plain, by_fixed = (
        float(stability_loss(network, pictures, network(pictures), np.random.default_rng(0)))
        for network in (plain, fixed)
    )
    assert by_plain < 0.004, "noise, light and sampling between pixels"
    assert by_fixed > 0.02


def test_motions_are_small() -> None:
    grid = random_motion(64, 64, count=20, random=np.random.default_rng(0))
    still = torch.nn.functional.affine_grid(torch.eye(2, 3).repeat(20, 1, 1), [20, 3, 64, 64], align_corners=False)
    assert float((grid - still).abs().max()) * 32 < 10  # pixels
    assert float((grid - still).abs().mean()) > 0


def test_a_network_begins_the_same_for_the_same_seed() -> None:
    first, again = (initialised(TINY, 3).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
