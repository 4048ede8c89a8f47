"""Images determine their latents: what makes the MI of scenes that of latents."""

import pytest
import torch

from data_gen.scenes import Scenes

LATENTS = torch.randn(500, 25, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("texture", [0.1, 0.6])
def test_latents_come_back(size: int, texture: float) -> None:
    render, latents = Scenes(size, texture, 0.8), LATENTS[:, : size**2]
    images = render(latents)
    assert bool((images.abs() < 1).all()) and not torch.allclose(images, latents, atol=0.5)
    torch.testing.assert_close(render.inverse(images), latents, rtol=0, atol=1e-5)


def test_the_map_is_locally_invertible() -> None:
    render = Scenes(3)
    for latents in LATENTS[:20, :9]:
        jacobian = torch.autograd.functional.jacobian(render, latents)
        assert torch.linalg.svdvals(jacobian).amin() > 1e-6


def test_places_move_the_object() -> None:
    """Without a ground, other places give the same image shifted: the moduli of its spectrum stay; and a latent of the
    ground moves no wave of the object's slowest."""
    render = Scenes(5)
    here, there = torch.zeros(25, dtype=torch.float64), torch.zeros(25, dtype=torch.float64)
    there[:2] = torch.tensor([0.7, -0.4])
    fields = [render(latents).atanh().view(5, 5) for latents in (here, there)]
    spectra = [torch.fft.fft2(field).abs() for field in fields]
    torch.testing.assert_close(*spectra)
    assert (fields[0] - fields[1]).abs().max() > 0.1
    ground = here.clone()
    ground[8] = 2.0
    slow = [torch.fft.fft2(render(latents).atanh().view(5, 5))[0, 1] for latents in (here, ground)]
    torch.testing.assert_close(*slow)


def test_sides_are_far_from_gaussian_in_their_scores() -> None:
    """What a flow can find: the pair of a slowest wave lies near a circle."""
    render = Scenes(5)
    field = render(LATENTS).atanh()
    wave = field @ render.basis[:, [1, 1 + len(render.frequencies)]]
    radius = wave.norm(dim=-1)
    assert float(radius.std() / radius.mean()) < 0.4  # .52 for a Gaussian pair (Rayleigh)


@pytest.mark.parametrize("size", [1, 4])
def test_sizes_without_a_fourier_basis_of_pairs_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="expected an odd number of pixels, 3 or more"):
        Scenes(size)


def test_a_ground_without_strength_is_refused() -> None:
    with pytest.raises(ValueError, match="got texture=0, expected a positive strength"):
        Scenes(3, 0)


def test_places_that_repeat_are_refused() -> None:
    with pytest.raises(ValueError, match="got turn=1.5, expected a share between 0 and 1"):
        Scenes(3, turn=1.5)
