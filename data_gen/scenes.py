"""A modality with known truth: small images of an object that moves over a textured ground, rendered from latents.

Shapes: S×S pixels, S odd, D = S² latents. In the Fourier basis of an image that wraps around, the object's place is the
phase of the two slowest waves, and how bright and how long it is are their moduli; its faster waves follow from
these. The other latents are the mean and the texture, which is added; then every pixel saturates. Each step can be
undone: phases and moduli are read off the slowest waves, the object's faster waves are taken away, and the texture is
what remains. So an image determines its latents, and the MI of images is that of latents.

A map that leaves N(0, I) what it is would be of no use here: no samples without labels could show it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["Scenes"]

_BRIGHTNESS = 0.3  # standard deviation of the logarithm of a modulus
_DECAY = 0.6  # of the object's waves with |k|²
_SATURATION = 3.0  # pixels are tanh(field / 3)
_LARGEST = 6.0  # of a latent in the map to a phase


class Scenes:
    """Latents (..., S²), N(0, I), to pixels (..., S²) in (-1, 1), an injective map; `texture` is the strength of the
    ground beside an object of strength 1, and the object's places span `turn` of the image's width."""

    def __init__(self, size: int = 5, texture: float = 0.1, turn: float = 0.4) -> None:
        if size < 3 or size % 2 == 0:
            raise ValueError(f"got size={size}, expected an odd number of pixels, 3 or more")
        if texture <= 0:
            raise ValueError(f"got texture={texture}, expected a positive strength: without it nothing can be undone")
        if not 0 < turn < 1:
            raise ValueError(f"got turn={turn}, expected a share between 0 and 1: past it places would repeat")
        self.size, self.texture, self.turn = size, texture, turn
        half = size // 2
        frequencies = [(0, 1), (1, 0)]
        frequencies += [
            (a, b)
            for a in range(half + 1)
            for b in range(-half, half + 1)
            if (a > 0 or b > 0) and (a, b) not in frequencies
        ]
        self.frequencies = torch.tensor(frequencies, dtype=torch.float64)  # (F, 2), F = (S² - 1) / 2, slowest first
        self.strength = _DECAY ** (self.frequencies[2:].square().sum(-1) - 1)  # of the object's faster waves
        places = torch.cartesian_prod(*[torch.arange(size, dtype=torch.float64)] * 2)  # (S², 2)
        phase = 2 * math.pi / size * places @ self.frequencies.T
        scale = math.sqrt(2) / size
        self.basis = torch.cat([torch.full((size**2, 1), 1.0 / size), scale * phase.cos(), scale * phase.sin()], dim=-1)

    def __call__(self, points: Tensor) -> Tensor:
        """Latents to images, (..., S²) -> (..., S²)."""
        place, bright, mean, texture = points.double().split([2, 2, 1, points.shape[-1] - 5], dim=-1)
        angle = self.turn * math.pi * (2 * torch.special.ndtr(place.clamp(-_LARGEST, _LARGEST)) - 1)
        modulus = (_BRIGHTNESS * bright).exp()
        cosine, sine = self._object(angle, modulus)
        ground_cosine, ground_sine = (self.texture * texture).chunk(2, dim=-1)
        waves = [modulus * angle.cos(), cosine + ground_cosine, modulus * angle.sin(), sine + ground_sine]
        coefficients = torch.cat([self.texture * mean, *waves], dim=-1)
        return (self.size * coefficients @ self.basis.T / _SATURATION).tanh().to(points.dtype)

    def inverse(self, points: Tensor) -> Tensor:
        """Images to latents, (..., S²) -> (..., S²)."""
        coefficients = _SATURATION * points.double().atanh() / self.size @ self.basis
        num_waves = len(self.frequencies)
        mean, cosines, sines = coefficients.split([1, num_waves, num_waves], dim=-1)
        slow_cosine, slow_sine = cosines[..., :2], sines[..., :2]
        angle, modulus = torch.atan2(slow_sine, slow_cosine), (slow_cosine.square() + slow_sine.square()).sqrt()
        cosine, sine = self._object(angle, modulus)
        place = torch.special.ndtri(0.5 + angle / (2 * self.turn * math.pi))
        ground = torch.cat([cosines[..., 2:] - cosine, sines[..., 2:] - sine], dim=-1) / self.texture
        latents = torch.cat([place, modulus.log() / _BRIGHTNESS, mean / self.texture, ground], dim=-1)
        return latents.to(points.dtype)

    def _object(self, angle: Tensor, modulus: Tensor) -> tuple[Tensor, Tensor]:
        """The object's faster waves from the phases and moduli of its slowest, (..., 2) each -> two of (..., F - 2)."""
        fast = angle @ self.frequencies[2:].T
        strength = self.strength * modulus.prod(-1, keepdim=True).sqrt()
        return strength * fast.cos(), strength * fast.sin()
