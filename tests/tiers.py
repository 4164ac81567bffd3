"""Laws over many instances: a few of them in the fast suite, all in the long proofs."""

import pytest


def mostly_slow(instances, *fast):
    """Values for ``parametrize``: those not among ``fast`` are left to `make prove`."""
    known = list(instances)
    assert set(fast) <= set(known), f"{set(fast) - set(known)} are not among {known}"
    return [value if value in fast else pytest.param(value, marks=pytest.mark.slow) for value in known]
