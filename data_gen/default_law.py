"""The default law of training in plain numbers; conf/meta_distribution/default.yaml, its equal, explains them."""

from __future__ import annotations

from data_gen.meta_distribution import MetaDistribution

__all__ = ["default_law"]


def default_law() -> MetaDistribution:
    """Every family and warp there is, from 10 points to 10,000 and 1 to 64 dims a side; few dims to 100,000."""
    return MetaDistribution(
        name="default",
        families={
            "gaussian": 4.8,
            "gaussian-sparse": 1.0,
            "student": 2.8,
            "student-sparse": 1.0,
            "slash": 0.4,
            "variance_gamma": 0.4,
            "contaminated": 2.0,
            "additive": 1.6,
            "additive_noise": 1.2,
            "copula": 1.4,
            "copula_mixture": 0.6,
            "normal_mixture": 1.0,
            "mixture": 0.8,
            "loop": 0.6,
            "functional": 2.2,
            "contingency": 0.7,
            "cut_normal": 0.8,
            "classes": 0.6,
            "gamma_poisson": 0.3,
            "zero_inflated": 0.3,
            "independent": 3.0,
            "product": 2.5,
        },
        warps={
            "rotation": 1.0,
            "sinh_arcsinh": 1.0,
            "power": 0.5,
            "wiggly": 0.5,
            "cdf": 1.0,
            "coupling": 1.0,
            "spiral": 1.2,
            "spiral_plane": 0.8,
            "spiral_cdf": 1.0,
            "swiss_roll": 0.5,
            "derived": 0.7,
            "stack": 0.5,
            "flow_coupling_spline": 0.3,
            "flow_autoregressive_spline": 0.3,
            "flow_real_nvp": 0.4,
        },
        warp_probability=0.25,
        same_warp_probability=0.3,
        local_warp_probability=0.7,
        visible_dims=4.0,
        flow_pool_size=256,
        num_points=(10, 500),
        max_num_points=10000,
        uniform_points_probability=0.5,
        dims=(1, 32),
        max_dim=64,
        equal_dims_probability=0.5,
        few_dims=3,
        few_dims_probability=0.25,
        few_dims_max_num_points=100_000,
        mixed_probability=0.15,
        block_mixed_probability=0.2,
        max_condition_number=30.0,
        weak_probability=0.15,
        df=(1.0, 30.0),
        max_mi=45.0,
        category_probability=0.05,
        datasets_per_batch=(8, 128),
        groups_per_batch=4,
        cost_per_batch=600000.0,
    )
