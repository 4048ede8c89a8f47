"""Which measurements of the Wisconsin breast cancer table say most about the diagnosis, and which say the same?"""

import numpy as np
from sklearn.datasets import load_breast_cancer

import mist


def main() -> list[str]:
    """Names of the five measurements of the most mutual information with the diagnosis."""
    data = load_breast_cancer()
    estimator = mist.load("default")
    table = {name: data.data[:, j] for j, name in enumerate(data.feature_names)}
    found = estimator.relevance(table, data.target_names[data.target], units="bits")
    rows = found.rows()
    print("mutual information with the diagnosis (bits, 90 % interval; it has .95 bits itself)")
    for name, mi, low, high in zip(rows["x"][:8], rows["mi"], rows["low"], rows["high"]):
        print(f"  {name:<26}{mi:.3f}   {low:.3f} to {high:.3f}")

    best = rows["x"][:5]
    pairs = estimator.pairwise(table, best)
    print("how much of a correlation their pairs are worth:")
    print(np.array2string(pairs.normalized, precision=2))
    return best


if __name__ == "__main__":
    main()
