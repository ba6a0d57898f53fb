"""Refusals in one line."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bimmjax import InputError
from bimmjax._core.checks import choice, whole_number
from bimmjax._core.clock import timed


def test_choice_lists_what_is_allowed():
    assert choice("model", "gmm", ("gmm", "pvmm")) == "gmm"
    with pytest.raises(InputError, match=r"^model: got 'x', wants one of gmm, pvmm$"):
        choice("model", "x", ("gmm", "pvmm"))


@pytest.mark.parametrize("good", [1, 8, np.int64(3), np.uint8(2)])
def test_whole_number_accepts_integers(good: object):
    assert type(whole_number("phases", good, 1, 8)) is int


@pytest.mark.parametrize("bad", [0, 9, 1.5, 2.0, True, "2", None, np.float32(2), [2]])
def test_whole_number_refuses_the_rest(bad: object):
    with pytest.raises(InputError, match=r"^phases: got .*, wants a whole number from 1 to 8$"):
        whole_number("phases", bad, 1, 8)


def test_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)


def test_timed_tells_compilation_apart():
    with timed() as first:
        jax.jit(lambda x: jnp.sin(x) * 1.2345)(jnp.ones(7)).block_until_ready()
        time.sleep(0.02)
    assert first.total >= 0.02
    assert 0.0 < first.compiling <= first.total
    with timed() as second:
        time.sleep(0.01)
    assert second.compiling == 0.0
    with pytest.raises(KeyError), timed() as third:
        raise KeyError
    assert third.total > 0.0
