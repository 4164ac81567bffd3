"""The golden paths are those that diffusers' schedulers take today."""

import numpy as np
import pytest

from tests.parity import make_schedulers
from tests.scheduler_cases import CASES


@pytest.mark.parametrize("case", CASES)
def test_golden_numbers_are_current(case):
    found = make_schedulers.references(case)
    with np.load(make_schedulers.GOLDEN) as golden:
        assert {f"{case}/{key}" for key in found} == {key for key in golden.files if key.startswith(f"{case}/")}
        for key, value in found.items():
            np.testing.assert_allclose(value, golden[f"{case}/{key}"], rtol=1e-5, atol=1e-5, err_msg=key)
