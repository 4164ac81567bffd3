"""Every metric equals what torch-fidelity, prdc, scikit-learn and scipy compute from the same features.

``tests/golden/metrics.npz`` is made by ``tests/parity/make_metrics.py``, whose head says what each number is.
"""

from pathlib import Path

import numpy as np
import pytest

from gen_jax import evaluate
from gen_jax.evaluate.kid import squared_discrepancy
from tests.metric_inputs import CASES, metric_inputs

GOLDEN = Path(__file__).parent / "golden" / "metrics.npz"


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=[pytest.mark.slow] * (name == "wide")) for name in CASES]
)
def case(request):
    """Features of both sides, logits, and what the others found, by name."""
    with np.load(GOLDEN) as file:
        numbers = {key.split("/")[1]: float(file[key]) for key in file.files if key.startswith(f"{request.param}/")}
    return *metric_inputs(request.param), numbers


@pytest.mark.filterwarnings("ignore:a Frechet distance from")
def test_frechet_distance(case):
    generated, reference, _, expected = case
    found = evaluate.frechet_distance(generated, reference)
    assert found == pytest.approx(expected["fid"], rel=1e-6)
    assert found == pytest.approx(expected["fid_sqrtm"], rel=1e-5)


def test_score(case):
    *_, logits, expected = case
    powers = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    found = evaluate.classifier_score(powers / powers.sum(1, keepdims=True), splits=10)
    assert found == pytest.approx((expected["isc_mean"], expected["isc_std"]), rel=1e-9)


def test_kernel_distance(case):
    generated, reference, _, expected = case
    found = evaluate.kernel_distance(generated, reference, subsets=100, subset_size=1000)
    assert found == pytest.approx((expected["kid64_mean"], expected["kid64_std"]), rel=1e-8)
    assert found == pytest.approx((expected["kid_mean"], expected["kid_std"]), rel=1e-3)
    assert squared_discrepancy(generated, reference) == pytest.approx(expected["mmd"], rel=1e-8)


def test_precision_recall_density_coverage(case):
    generated, reference, _, expected = case
    found = evaluate.overlap(generated, reference, neighbours=3)
    precision, recall = found.precision, found.recall
    harmonic = 2 * precision * recall / max(precision + recall, 1e-12)
    assert (precision, recall, harmonic) == pytest.approx(
        [expected[name] for name in ("precision", "recall", "f_score")],
        abs=1e-7,  # of float32
    )
    found = evaluate.overlap(generated, reference, neighbours=5, density_neighbours=5)
    # There borders do not belong to balls; among these features none is met.
    assert found == pytest.approx([expected[f"prdc_{name}"] for name in found._fields], abs=1e-9)
