"""The golden numbers of the metrics are what their makers compute today."""

import numpy as np
import pytest

from tests.metric_inputs import CASES
from tests.parity import make_metrics


@pytest.mark.parametrize("case", CASES)
def test_golden_numbers_are_current(case):
    found = make_metrics.references(case)
    with np.load(make_metrics.GOLDEN) as golden:
        assert {f"{case}/{key}" for key in found} == {key for key in golden.files if key.startswith(f"{case}/")}
        for key, value in found.items():
            # The kernel in float32 is rounded differently by every matrix library.
            tolerance = 1e-4 if key in ("kid_mean", "kid_std") else 1e-6
            np.testing.assert_allclose(value, golden[f"{case}/{key}"], rtol=tolerance, atol=1e-9, err_msg=key)
