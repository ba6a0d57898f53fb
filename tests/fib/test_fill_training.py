"""Examples that fillings are learned from, and runs that are ended and go on."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from bimmjax import InputError
from bimmjax.fib import fill_distance, load_inpainting, train_inpainting
from bimmjax.fib._fill import article_network, examples, trained, training
from bimmjax.fib._fill.examples import Body, PlaneExamples, SliceExamples, body, thicknesses
from bimmjax.sim import levelled_wave, structure_labels

EDGE = 56


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small structures."""
    monkeypatch.setattr(examples, "EDGE", EDGE)
    monkeypatch.setattr(examples, "_SHAPE", (EDGE,) * 3)
    monkeypatch.setattr(training, "_CHECKED", 2)
    monkeypatch.setattr(training, "_SLICE_PATCH", 16)
    monkeypatch.setattr(training, "_PLANE_PATCH", 32)


def test_structures_are_those_of_article_ii_and_others():
    article = body(0, 3, article=True)
    assert 0.10 <= article.labels.mean() <= 0.14
    assert (round(article.mean, 3), round(article.std, 3)) == (4.064, 1.248)
    np.testing.assert_array_equal(article.labels, body(0, 3, article=True).labels)
    assert (article.labels != body(0, 4, article=True).labels).any()
    shares = [body(0, number, article=False).labels.mean() for number in range(8)]
    assert min(shares) < 0.5 < max(shares)
    drawn = thicknesses(np.random.default_rng(0), article, 20_000)
    assert drawn.min() >= 1
    assert abs(drawn.mean() - 4.064) < 0.05


def test_examples_of_slices_are_what_fillings_meet():
    # Alike everywhere, as the few ligaments of a small hierarchical structure are not.
    wave = levelled_wave(jax.random.key(1), (EDGE, EDGE, EDGE), 0.3, 10.0)
    made = Body(np.asarray(structure_labels(wave)) > 0, 4.064, 1.248)
    source = SliceExamples(made, reach=4, patch=32)
    far, offsets, shares, truth = source.draw(np.random.default_rng(0), 200)
    assert far.shape == (200, 40, 40, 6)
    assert truth.shape == (200, 32, 32)
    assert {a.dtype for a in (far, offsets, shares, truth)} == {np.dtype(np.float32)}
    # In order around the missing slice; nothing where there is none.
    gaps = offsets != 0
    assert (offsets[:, :3][gaps[:, :3]] < 0).all()
    assert (offsets[:, 3:][gaps[:, 3:]] > 0).all()
    assert (far.transpose(0, 3, 1, 2)[~gaps] == 0).all()
    assert (shares[~gaps] == 0).all()
    assert 0.02 < (~gaps).mean() < 0.4
    np.testing.assert_allclose(shares.sum(1), 1.0, atol=1e-5)
    # Splines of what was drawn err as often as splines that fill a stack.
    spline = np.einsum("byxk,bk->byx", far, shares)[:, 4:-4, 4:-4]
    wrong = ((spline > 0) != (truth > 0)).mean()
    rng, shares_wrong = np.random.default_rng(1), []
    for turn in range(9):
        stack = np.moveaxis(made.labels, turn % 3, 0)
        places = np.concatenate([[0], np.cumsum(thicknesses(rng, made, EDGE))])
        places = places[places < EDGE]
        filled = fill_distance(stack[places], places)
        missing = np.setdiff1d(np.arange(places[-1]), places)
        shares_wrong.append((filled != stack[: len(filled)])[missing].mean())
    assert wrong == pytest.approx(np.mean(shares_wrong), rel=0.2)


def test_examples_of_planes_lack_rows():
    source = PlaneExamples(body(1, 0, article=True), np.random.default_rng(0), 40)
    planes, known, cubic, truth = source.draw(np.random.default_rng(0), 20)
    assert planes.shape == known.shape == cubic.shape == truth.shape == (20, 40, 40)
    there = known > 0
    np.testing.assert_array_equal(planes[there], truth[there])
    np.testing.assert_array_equal(cubic[there], truth[there])
    assert (planes[~there] == 0.5).all()
    assert (known.min(2) == known.max(2)).all()
    assert 0.15 < there.mean() < 0.4
    wrong = ((cubic > 0.5) != (truth > 0.5))[~there].mean()
    assert 0.02 < wrong < 0.1


def test_a_run_that_was_ended_goes_on_to_the_same_result(tmp_path: Path):
    settings: dict[str, Any] = {"epochs": 2, "steps": 2, "batch": 1, "seed": 5}
    whole = train_inpainting(tmp_path / "whole", **settings)

    def ended(told: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_inpainting(tmp_path / "ended", progress=ended, **settings)
    told: list[dict[str, Any]] = []
    resumed = train_inpainting(tmp_path / "ended", progress=told.append, **settings)
    assert [t["epoch"] for t in told] == [2]
    one, other = load_file(whole), load_file(resumed)
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name])
    assert type(load_inpainting(resumed)).__name__ == "SliceNetwork"
    assert trained.told_of(resumed)["seed"] == 5
    start = trained.build("slices", seed=5)
    assert (one["last/bias"] != np.asarray(start.last.bias[...])).any()
    # From where it ended, a rate of nothing leads nowhere else.
    began = {**settings, "epochs": 1, "start": resumed, "learning_rate": 1e-9}
    onward = load_file(train_inpainting(tmp_path / "onward", **began))
    np.testing.assert_allclose(onward["last/bias"], one["last/bias"], atol=1e-6)
    # Another run there would be another network.
    with pytest.raises(InputError, match=r"out: got .* with a run of .*, wants the same settings"):
        train_inpainting(tmp_path / "ended", **{**settings, "seed": 6})


def test_the_network_of_the_article_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(article_network, "FEATURES", (8, 4))
    told: list[dict[str, Any]] = []
    train_inpainting(tmp_path, network="article", epochs=3, steps=20, batch=2, progress=told.append)
    assert told[-1]["loss"] < told[0]["loss"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": "unet"}, "network: got 'unet', wants one of slices, article"),
        ({"epochs": 0}, "epochs: got 0, wants a whole number from 1"),
        ({"steps": 1.5}, "steps: got 1.5, wants a whole number"),
        ({"batch": 0}, "batch: got 0, wants a whole number from 1"),
        ({"minutes": -1.0}, r"minutes: got -1\.0, wants a number from 0"),
        ({"learning_rate": 0.0}, r"learning_rate: got 0\.0, wants a number from 1e-09"),
        ({"start": "article"}, "start: got article, wants weights of the network slices"),
        ({"start": "nowhere"}, "network: got nowhere, which cannot be read"),
        ({"seed": -1}, "seed: got -1, wants a whole number from 0"),
    ],
)
def test_refusals(tmp_path: Path, settings: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        train_inpainting(tmp_path, **settings)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"out: got .*file, which cannot be written"):
        train_inpainting(tmp_path / "file", epochs=1, steps=1)
