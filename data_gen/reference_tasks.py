"""Public test problems as joints: the 13 reference configurations of MIST and the 40 tasks of Czyż et al. (2023).

Evaluation only: no training configuration draws from here.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from data_gen.additive_noise import UniformAdditiveNoise
from data_gen.composition import Warped
from data_gen.covariance import latent_variable_dispersion
from data_gen.elliptical import Gaussian, StudentT
from data_gen.joint import Joint
from data_gen.streams import Streams
from data_gen.warps import (
    ASINH,
    BIMODAL_X,
    BIMODAL_Y,
    HALF_CUBE,
    NORMAL_CDF,
    WIGGLY_X,
    WIGGLY_Y,
    Spiral,
    SwissRoll,
)

__all__ = [
    "BMI_TASKS",
    "MIST_DIMS",
    "MIST_IMD",
    "MIST_NUM_POINTS",
    "MIST_OOMD",
    "bmi_joint",
    "draw_mist_joint",
]

MIST_IMD = (
    "multi_normal-dense-base",
    "multi_normal-lvm-wigglify",
    "multi_normal-dense-halfcube",
    "multi_student-dense-base",
    "multi_student-sparse-base",
    "multi_student-sparse-asinh",
)
MIST_OOMD = (
    "multi_normal-dense-wigglify",
    "multi_normal-sparse-halfcube",
    "multi_normal-sparse-asinh",
    "multi_student-sparse-wigglify",
    "multi_student-dense-halfcube",
    "multi_additive_noise-base",
    "multi_additive_noise-halfcube",
)
MIST_NUM_POINTS = (10, 35, 61, 87, 113, 138, 164, 190, 216, 242, 267, 293, 319, 345, 371, 396, 422, 448, 474, 500)
MIST_DIMS = (2, 32)

_Warp = Callable[[Tensor], Tensor]
_MIST_WARPS: dict[str, tuple[_Warp | None, _Warp | None]] = {
    "base": (None, None),
    "wigglify": (WIGGLY_X, WIGGLY_Y),
    "halfcube": (HALF_CUBE, HALF_CUBE),
    "asinh": (ASINH, ASINH),
}

BMI_TASKS = (
    "1v1-normal-0.75 | Bivariate normal 1 × 1",
    "normal_cdf-1v1-normal-0.75 | Normal CDF @ Bivariate normal 1 × 1",
    "1v1-additive-0.1 | Uniform 1 × 1 (additive noise=0.1)",
    "1v1-additive-0.75 | Uniform 1 × 1 (additive noise=0.75)",
    "1v1-bimodal-0.75 | Bimodal 1 × 1",
    "wiggly-1v1-normal-0.75 | Wiggly @ Bivariate normal 1 × 1",
    "half_cube-1v1-normal-0.75 | Half-cube @ Bivariate normal 1 × 1",
    "student-identity-1-1-1 | Student-t 1 × 1 (dof=1)",
    "asinh-student-identity-1-1-1 | Asinh @ Student-t 1 × 1 (dof=1)",
    "swissroll_x-normal_cdf-1v1-normal-0.75 | Swiss roll 2 × 1",
    *(f"multinormal-dense-{d}-{d}-0.5 | Multinormal {d} × {d} (dense)" for d in (2, 3, 5, 25, 50)),
    *(f"multinormal-sparse-{d}-{d}-2-2.0 | Multinormal {d} × {d} (2-pair)" for d in (2, 3, 5, 25)),
    *(
        f"student-identity-{d}-{d}-{df} | Student-t {d} × {d} (dof={df})"
        for d, df in ((2, 1), (2, 2), (3, 2), (3, 3), (5, 2), (5, 3))
    ),
    *(
        f"{prefix}-multinormal-sparse-{d}-{d}-2-2.0 | {words} @ Multinormal {d} × {d} (2-pair)"
        for prefix, words in (
            ("normal_cdf", "Normal CDF"),
            ("half_cube", "Half-cube"),
            ("spiral", "Spiral"),
            ("spiral-normal_cdf", "Spiral @ Normal CDF"),
        )
        for d in (3, 5, 25)
    ),
    *(
        f"asinh-student-identity-{d}-{d}-{df} | Asinh @ Student-t {d} × {d} (dof={df})"
        for d, df in ((2, 1), (3, 2), (5, 2))
    ),
)


def _equal_correlations(r: Tensor, dim: int) -> Tensor:
    """(B,) -> (B, D, D): every off-diagonal correlation r."""
    r = r.double().view(-1, 1, 1)
    return r + (1 - r) * torch.eye(dim, dtype=torch.float64)


def _sparse_pairs(num_pairs: Tensor, strength: Tensor, dim: int) -> Tensor:
    """num_pairs interacting pairs of strength λ, the other coordinates of the same variance (η = λ)."""
    zeros = torch.zeros_like(strength)
    strengths = strength.unsqueeze(-1).expand(-1, dim)
    return latent_variable_dispersion(dim, dim, num_pairs, zeros, strengths, zeros, zeros, strength)


def draw_mist_joint(label: str, dim: int, random: Streams) -> Joint:
    """Parameters of B joints of one MIST reference configuration with dim_x = dim_y = dim.

    Laws of the generator of MIST: dense r ~ U(0, .5); sparse K uniform on 1…d, λ = η ~ U(.1, 5); lvm K uniform on 1…d,
    α ~ U(0, 1), λ ~ U(.1, 3), β ~ U(0, 1.5), η ~ U(.1, 5); Student df ~ U(1, 10); additive noise ε ~ U(.1, 2) per
    coordinate. ValueError for a label that is none of MIST_IMD and MIST_OOMD.
    """
    if label not in (*MIST_IMD, *MIST_OOMD):
        raise ValueError(f"got configuration {label!r}, expected one of {[*MIST_IMD, *MIST_OOMD]}")
    base, *ensemble, warp = label.split("-")
    joint: Joint
    if base == "multi_additive_noise":
        joint = UniformAdditiveNoise(random.uniform(dim, low=0.1, high=2.0), dim, dim)
    else:
        df = random.uniform(1, low=1.0, high=10.0).squeeze(-1)
        dispersion = _mist_dispersion(ensemble[0], dim, random)
        joint = Gaussian(dispersion, dim) if base == "multi_normal" else StudentT(dispersion, df, dim)
    warp_x, warp_y = _MIST_WARPS[warp]
    return joint if warp_x is None else Warped(joint, warp_x, warp_y)


def _mist_dispersion(ensemble: str, dim: int, random: Streams) -> Tensor:
    if ensemble == "dense":
        return _equal_correlations(random.uniform(1, high=0.5).squeeze(-1), 2 * dim)
    num_pairs = random.integers(1, dim, 1).squeeze(-1)
    if ensemble == "sparse":
        return _sparse_pairs(num_pairs, random.uniform(1, low=0.1, high=5.0).squeeze(-1), dim)
    assert ensemble == "lvm", ensemble
    alpha = random.uniform(1).squeeze(-1)
    strength = random.uniform(1, low=0.1, high=3.0).expand(-1, dim)
    beta = random.uniform(1, high=1.5).squeeze(-1)
    eta = random.uniform(1, low=0.1, high=5.0).squeeze(-1)
    return latent_variable_dispersion(dim, dim, num_pairs, alpha, strength, beta, beta, eta)


def bmi_joint(task: str, num_datasets: int = 1) -> Joint:
    """One of the 40 tasks of Czyż et al. (2023), by its label or its id (the label up to " | "), B times the same.

    ValueError for a task that is none of them.
    """
    ids = {label.split(" | ")[0] for label in BMI_TASKS}
    name = task.split(" | ")[0]
    if name not in ids:
        raise ValueError(f"got task {task!r}, expected one of {sorted(ids)}")
    return _build(name, num_datasets)


def _build(name: str, batch: int) -> Joint:
    for prefix in ("spiral", "swissroll_x", "normal_cdf", "half_cube", "wiggly", "asinh"):
        if name.startswith(f"{prefix}-"):
            return _warp(prefix, _build(name.removeprefix(f"{prefix}-"), batch))
    words = name.split("-")
    if words[0] == "1v1":
        value = torch.full((batch, 1), float(words[2]), dtype=torch.float64)
        if words[1] == "additive":
            return UniformAdditiveNoise(value, 1, 1)
        normal = Gaussian(_equal_correlations(value, 2), 1)
        return normal if words[1] == "normal" else Warped(normal, BIMODAL_X, BIMODAL_Y)
    dim = int(words[2])
    if words[0] == "student":
        identity = torch.eye(2 * dim, dtype=torch.float64).repeat(batch, 1, 1)
        return StudentT(identity, torch.full((batch,), float(words[4]), dtype=torch.float64), dim)
    if words[1] == "dense":
        return Gaussian(_equal_correlations(torch.full((batch,), float(words[4])), 2 * dim), dim)
    num_pairs = torch.full((batch,), int(words[4]))
    return Gaussian(_sparse_pairs(num_pairs, torch.full((batch,), float(words[5]), dtype=torch.float64), dim), dim)


def _warp(prefix: str, joint: Joint) -> Joint:
    if prefix == "swissroll_x":
        return Warped(joint, SwissRoll(), None, added_x=SwissRoll.dim_out - 1)
    if prefix == "spiral":  # the planes differ between the sides; the angle is |x|² over the number of coordinates
        return Warped(joint, Spiral((0, 1), 1 / joint.dim_x), Spiral((1, 2), 1 / joint.dim_y))
    if prefix == "wiggly":
        return Warped(joint, WIGGLY_X, WIGGLY_Y)
    warp = {"normal_cdf": NORMAL_CDF, "half_cube": HALF_CUBE, "asinh": ASINH}[prefix]
    return Warped(joint, warp, warp)
