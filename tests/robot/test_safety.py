import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.contracts import ACTION_LIMIT
from components.contracts.errors import ConfigurationError
from components.robot import SafetyLayer, Watchdog

LAYER = SafetyLayer((-1.15, -1.15, 0.0), (1.15, 1.15, 0.0), deadline_s=0.5)


def judge(*values, others=(), elapsed_s=0.0):
    return LAYER.check(np.array(values, dtype=np.float32), *others, elapsed_s=elapsed_s)


def test_action_within_bounds_passes_unchanged():
    safe = judge(1.15, -1.15, 0)

    assert safe.fault is None
    assert not safe.clamped
    np.testing.assert_array_equal(safe.action, np.array([1.15, -1.15, 0], np.float32))


def test_rounding_is_clamped_silently():
    safe = judge(1.1504, 0, 0)

    assert safe.fault is None
    assert not safe.clamped
    assert safe.action[0] == np.float32(1.15)


def test_small_excess_is_clamped_and_told():
    safe = judge(1.19, 0, 0)

    assert safe.fault is None
    assert safe.clamped
    assert safe.action[0] == np.float32(1.15)


@pytest.mark.parametrize("values", [(2, 0, 0), (0, -1.3, 0), (0, 0, 0.5)])
def test_action_out_of_bounds_stops(values):
    safe = judge(*values)

    assert safe.fault == "out-of-bounds"
    assert not safe.action.any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_action_that_is_no_number_stops(value):
    safe = judge(0, value, 0)

    assert safe.fault == "non-finite"
    assert not safe.action.any()


def test_valid_key_that_was_chosen_among_nans_stops():
    assert judge(1.15, 0, 0, others=(np.full((3, 3), np.nan, np.float32),)).fault == "non-finite"


def test_action_of_another_shape_stops():
    assert LAYER.check(np.zeros(2, np.float32), elapsed_s=0).fault == "non-finite"


def test_late_action_stops():
    assert judge(1.15, 0, 0, elapsed_s=0.6).fault == "deadline"


def test_package_cannot_widen_the_robots_limits():
    wide = SafetyLayer((-9, -9, -9), (9, 9, 9), deadline_s=1)

    assert wide.check(np.array([5, 0, 0], np.float32), elapsed_s=0).fault == "out-of-bounds"


@pytest.mark.parametrize(
    ("low", "high", "deadline_s"), [((1, 0, 0), (0, 0, 0), 1), ((0, 0), (1, 1), 1), ((0, 0, 0), (1, 1, 1), 0)]
)
def test_bounds_that_are_none_are_refused(low, high, deadline_s):
    with pytest.raises(ConfigurationError, match="expected"):
        SafetyLayer(low, high, deadline_s=deadline_s)


@given(st.lists(st.floats(width=32), min_size=3, max_size=3), st.floats(0, 2))
def test_whatever_a_policy_says_the_wheels_get_finite_bounded_values(values, elapsed_s):
    safe = judge(*values, elapsed_s=elapsed_s)

    assert np.isfinite(safe.action).all()
    assert np.abs(safe.action).max() <= np.float32(ACTION_LIMIT)
    assert safe.action[2] == 0


def test_watchdog_stops_a_loop_that_hangs_and_is_armed_again_by_its_next_beat():
    stops = threading.Semaphore(0)
    with Watchdog(0.02, stops.release) as watchdog:
        assert stops.acquire(timeout=30)
        assert not stops.acquire(timeout=0.1)  # once per silence
        watchdog.feed()
        assert stops.acquire(timeout=30)


def test_watchdog_that_is_closed_stops_nothing():
    stopped = threading.Event()
    with Watchdog(3600, stopped.set):
        pass

    assert not stopped.is_set()
