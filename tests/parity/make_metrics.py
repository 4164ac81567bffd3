"""Writes tests/golden/metrics.npz: what others compute from the features of ``tests.metric_inputs``.

``python -m tests.parity.make_metrics``; a float64 number by ``case/key``:

fid                        torch-fidelity: covariances by n - 1, trace of the root by the eigenvalues of the product
fid_sqrtm                  the same formula with the real part of scipy.linalg.sqrtm (nearly singular when wide)
isc_mean, isc_std          torch-fidelity from logits: 10 splits, shuffled by RandomState(2020).permutation, float64
kid_mean, kid_std          torch-fidelity from float32 features: 100 subsets of 1000, RandomState(2020).choice without
                           replacement for generated and then real images; the kernel is float32 too
kid64_mean, kid64_std      the same from the same features as float64
mmd                        unbiased, over all images, with scikit-learn's polynomial_kernel (degree 3, 1/F, 1), float64
precision, recall, f_score torch-fidelity: 3 neighbours, borders belong to a ball; generated images first
prdc_precision, prdc_recall, prdc_density, prdc_coverage
                           prdc: 5 neighbours, borders do not belong to a ball
"""

import pathlib

import numpy as np
import prdc
import scipy.linalg
import torch
from sklearn.metrics.pairwise import polynomial_kernel
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from tests.metric_inputs import CASES, metric_inputs

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "metrics.npz"


def fid(generated, reference):
    """torch-fidelity's and, of the same moments, scipy's."""
    first, second = (fid_features_to_statistics(torch.from_numpy(x.astype(np.float64))) for x in (generated, reference))
    root = scipy.linalg.sqrtm(first["sigma"] @ second["sigma"]).real
    moved = ((first["mu"] - second["mu"]) ** 2).sum()
    return {
        "fid": fid_statistics_to_metric(first, second, False)["frechet_inception_distance"],
        "fid_sqrtm": moved + np.trace(first["sigma"] + second["sigma"] - 2 * root),
    }


def isc(logits):
    """torch-fidelity's."""
    found = isc_features_to_metric(torch.from_numpy(logits), splits=10, shuffle=True, rng_seed=2020)
    return {"isc_mean": found["inception_score_mean"], "isc_std": found["inception_score_std"]}


def kid(generated, reference):
    """torch-fidelity's, in both precisions, and scikit-learn's over all images."""
    options = {"kid_subsets": 100, "kid_subset_size": 1000, "rng_seed": 2020, "verbose": False}
    found = {}
    for name, dtype in {"kid": np.float32, "kid64": np.float64}.items():
        sides = [torch.from_numpy(x.astype(dtype)) for x in (generated, reference)]
        values = kid_features_to_metric(*sides, **options)
        found[f"{name}_mean"] = values["kernel_inception_distance_mean"]
        found[f"{name}_std"] = values["kernel_inception_distance_std"]
    x, y = generated.astype(np.float64), reference.astype(np.float64)
    within = []
    for side in (x, y):
        kernel = polynomial_kernel(side, degree=3, coef0=1)
        within.append((kernel.sum() - np.trace(kernel)) / (len(side) * (len(side) - 1)))
    return found | {"mmd": sum(within) - 2 * polynomial_kernel(x, y, degree=3, coef0=1).mean()}


def neighbours(generated, reference):
    """torch-fidelity's precision and recall, and all four of prdc."""
    sides = [torch.from_numpy(x) for x in (generated, reference)]
    found = prc_features_to_metric(*sides, prc_neighborhood=3, verbose=False)
    others = prdc.compute_prdc(real_features=reference, fake_features=generated, nearest_k=5)
    return {name: found[name] for name in ("precision", "recall", "f_score")} | {
        f"prdc_{name}": value for name, value in others.items()
    }


def references(case):
    """Every number of one case."""
    generated, reference, logits = metric_inputs(case)
    return fid(generated, reference) | isc(logits) | kid(generated, reference) | neighbours(generated, reference)


if __name__ == "__main__":
    numbers = {f"{case}/{key}": float(value) for case in CASES for key, value in references(case).items()}
    np.savez(GOLDEN, **numbers)
    for key, value in numbers.items():
        print(f"{key:24} {value:.10g}")
