import numpy as np
import pytest

from pipeline.core.bounds import FEW, interval, lower_bound, lower_bounds


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_the_bound_of_few_draws_is_the_librarys(confidence):
    for drawn in (0, 1, 2, 7, FEW, FEW + 1):
        mine = [lower_bound(found, drawn, confidence) for found in range(drawn + 1)]
        assert mine == pytest.approx(lower_bounds(np.arange(drawn + 1), drawn, confidence))


def test_an_interval_of_few_draws_is_clopper_and_pearsons():
    assert interval(1, 2) == pytest.approx((0.01257912, 0.98742088))  # as R's binom.test
    assert interval(0, 1) == pytest.approx((0, 0.975))
