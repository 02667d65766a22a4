import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.lab.scaling.laws import (
    LAWS,
    amdahl,
    choose_law,
    cost,
    fit_law,
    gustafson,
    karp_flatt,
    universal,
)

COUNTS = np.repeat([1, 2, 4, 8, 16, 32, 64], 3)


def noisy(rates, spread=0.01, seed=0):
    return rates * np.exp(np.random.default_rng(seed).normal(0, spread, len(rates)))


@settings(max_examples=20, deadline=None)
@given(
    law=st.sampled_from(["Amdahl", "Gustafson", "USL"]),
    contention=st.floats(0.005, 0.5),
    coherency=st.floats(0.0005, 0.05),
    rate=st.floats(0.1, 1e4),
)
def test_a_fit_finds_the_parameters_that_made_the_rates(law, contention, coherency, rate):
    made = (contention, coherency)[: len(LAWS[law].parameters)]
    rates = rate * LAWS[law].speedup(COUNTS, *made)
    fit = fit_law(law, COUNTS, rates, draws=0)
    assert fit.rate == pytest.approx(rate, rel=1e-3)
    assert fit.parameters == pytest.approx(made, rel=0.02, abs=1e-5)
    assert fit.predict(np.array([1000])) == pytest.approx(
        rate * LAWS[law].speedup(np.array([1000.0]), *made), rel=0.05
    )


@given(w=st.integers(1, 10_000), s=st.floats(0, 1), c=st.floats(0, 1))
def test_laws_agree_where_they_must(w, s, c):
    workers = np.array([1.0, w])
    for law in (amdahl, gustafson):
        assert law(workers, 0.0) == pytest.approx(workers)
        assert law(workers, 1.0) == pytest.approx([1, 1])
        assert (law(workers, s) <= workers * (1 + 1e-12)).all()
    assert universal(workers, s, 0.0) == pytest.approx(amdahl(workers, s))
    assert (universal(workers, s, c) <= amdahl(workers, s) * (1 + 1e-12)).all()


@given(w=st.integers(2, 10_000), s=st.floats(1e-6, 1))
def test_karp_flatt_gives_amdahls_fraction_back(w, s):
    workers = np.array([1.0, w])
    found = karp_flatt(workers, amdahl(workers, s))
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(s, rel=1e-6, abs=1e-9)


def test_the_bootstraps_interval_holds_the_truth_and_shrinks_with_the_noise():
    widths = []
    for spread in (0.05, 0.005):
        fit = fit_law("Amdahl", COUNTS, noisy(100 * amdahl(COUNTS, 0.05), spread), draws=100)
        name, value, low, high = fit.intervals()[1]
        assert name == "contention"
        assert low <= value <= high
        widths.append(high - low)
        band_low, band_high = fit.band(np.array([64.0]))
        assert band_low[0] < fit.predict(np.array([64.0]))[0] < band_high[0]
    assert widths[1] < widths[0] / 3
    assert abs(value - 0.05) < 0.002


@pytest.mark.parametrize(
    ("rates", "law"),
    [
        (amdahl(COUNTS, 0.05), ("Amdahl", "USL")),
        (universal(COUNTS, 0.02, 0.002), ("USL",)),
        (gustafson(COUNTS, 0.3), ("Gustafson",)),
    ],
)
def test_the_held_out_choice_takes_the_law_that_made_the_rates(rates, law):
    choice = choose_law(COUNTS, noisy(rates, 0.002))
    assert choice.law in law
    assert (choice.fitted_to, choice.predicted) == ((1, 2, 4, 8, 16), (32, 64))
    assert choice.error < 0.05


def test_the_reported_error_is_of_counts_that_chose_nothing():
    rates = amdahl(COUNTS, 0.01)
    rates[COUNTS >= 32] /= 2  # a cliff that no small count shows
    assert choose_law(COUNTS, rates).error > 0.9


def test_too_few_counts_are_refused():
    with pytest.raises(ValueError, match="five worker counts"):
        choose_law(np.array([1, 2, 4]), np.ones(3))
    with pytest.raises(ValueError, match="above zero"):
        fit_law("Amdahl", np.array([1, 2]), np.array([1.0, 0.0]))


def test_cost_is_the_first_count_to_beat_one_thread():
    workers, rates = np.array([1, 1, 2, 2, 4]), np.array([8.0, 9, 14, 20, 30])
    assert cost(10.0, workers, rates) == 2
    assert cost(17.0, workers, rates) == 4
    assert cost(99.0, workers, rates) is None
