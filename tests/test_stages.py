"""Times of stages add up, and nested ones are not counted twice."""

import time

import pytest

from wprops.stages import measure, stage


def test_time_is_that_of_the_inner_stage():
    with measure() as seconds, stage("selection"):
        time.sleep(0.02)
        with stage("reading"):
            time.sleep(0.05)
        time.sleep(0.02)
    assert seconds["reading"] >= 0.05
    assert seconds["selection"] >= 0.04
    assert set(seconds) == {"other", "selection", "reading"}


def test_stages_add_up_to_the_time_of_all():
    start = time.perf_counter()
    with measure() as seconds:
        for name in ("a", "b", "a"):
            with stage(name), stage("c"):
                time.sleep(0.001)
    wall = time.perf_counter() - start
    assert 0 < wall - sum(seconds.values()) < 0.5 * wall


def test_a_stage_ends_with_an_error():
    def fail():
        with stage("reading"):
            msg = "broken"
            raise OSError(msg)

    with measure() as seconds:
        with pytest.raises(OSError, match="broken"):
            fail()
        time.sleep(0.01)
    assert seconds["other"] >= 0.01


def test_stages_decorate_functions():
    @stage("weights")
    def work(number):
        return number + 1

    assert work(1) == 2
    with measure() as seconds:
        assert work(2) == 3
        assert work(3) == 4
    assert "weights" in seconds
