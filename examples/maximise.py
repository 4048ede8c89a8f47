"""Which direction of X says most about Y? Gradient ascent of mutual information over a linear projection."""

import math

import torch

import mist


def most_informative_direction(x: torch.Tensor, y: torch.Tensor, steps: int = 60, seed: int = 0) -> torch.Tensor:
    """Unit vector w (d,) of the largest I(w·x; y), from a random start; x (n, d), y (n,)."""
    estimator = mist.load("default")
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(x.shape[1], generator=generator, dtype=torch.float64).requires_grad_()
    optimizer = torch.optim.Adam([direction], lr=0.1)
    for step in range(steps):
        optimizer.zero_grad()
        loss = -estimator.mutual_information(x @ (direction / direction.norm()), y)
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            print(f"step {step}: {-loss.item():.3f} nats")
    return (direction / direction.norm()).detach()


def main() -> float:
    """Cosine between the direction found and the one that made Y."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(300, 5, generator=generator, dtype=torch.float64)
    truth = torch.tensor([2.0, -1.0, 0.0, 1.0, 0.0], dtype=torch.float64) / math.sqrt(6)
    y = torch.tanh(x @ truth) + 0.3 * torch.randn(300, generator=generator, dtype=torch.float64)
    found = most_informative_direction(x, y)
    cosine = float((found @ truth).abs())
    print(f"|cosine| with the direction that made Y: {cosine:.3f}")
    return cosine


if __name__ == "__main__":
    main()
