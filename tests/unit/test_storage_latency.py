"""Latencies in buckets: quantiles right to 2.5 %."""

import numpy as np
import pytest

from storage.latency import BUCKETS, bucket_of, quantiles, seconds_of


def test_a_bucket_is_five_percent_wide():
    seconds = np.geomspace(1.1e-4, 2000, 5000)
    middles = np.array([seconds_of(bucket) for bucket in bucket_of(seconds)])
    assert np.abs(middles / seconds - 1).max() < 0.0255


def test_the_ends_hold_what_is_beyond():
    found = bucket_of(np.array([-3.0, 0.0, 1e-9, 1e9]))
    assert found.tolist() == [0, 0, 0, BUCKETS - 1]
    assert found.dtype == np.int16


@pytest.mark.parametrize("seed", range(5))
def test_quantiles_are_those_of_the_rows(seed):
    rng = np.random.default_rng(seed)
    seconds = rng.lognormal(-3, 1, 2000)
    buckets, n = np.unique(bucket_of(seconds), return_counts=True)
    found = quantiles(dict(zip(buckets.tolist(), n.tolist(), strict=True)), (0.0, 0.5, 0.99, 1.0))
    exact = np.quantile(seconds, (0.0, 0.5, 0.99, 1.0), method="inverted_cdf")
    assert found == pytest.approx(exact, rel=0.026)


def test_no_rows_have_no_quantiles():
    assert quantiles({}, (0.5,)) == []
