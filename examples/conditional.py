"""Does a longer petal say anything of an iris' petal width once its species is known?"""

import numpy as np
from sklearn.datasets import load_iris

import mist


def main() -> tuple[float, float]:
    """MI of petal length and width, and the same conditional on the species, nats."""
    data = load_iris()
    length, width = data.data[:, 2], data.data[:, 3]
    species = data.target_names[data.target]
    estimator = mist.load("default")
    plain = estimator.estimate(length, width)
    given = estimator.estimate(length, width, given=species)
    print(f"petal length and width                    {plain}")
    print(f"given the species                         {given}")
    print(f"petal length and width with the species   {estimator.estimate(np.c_[length, width], species)}")
    test = estimator.independence_test(length, width)
    print(f"independent of one another? p = {test.p_value:.3f}")
    print(estimator.check(length, width))
    return plain.mi, given.mi


if __name__ == "__main__":
    main()
