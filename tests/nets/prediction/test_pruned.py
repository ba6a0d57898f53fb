"""The first levels of a UNet++ applied alone."""

from __future__ import annotations

import json

import pytest

from bimmjax import InputError, predict
from bimmjax.nets import build

WHOLE = (slice(None),) * 3


@pytest.fixture(scope="module")
def nested():
    net = build("unet++", channels=1, classes=3, width=2, levels=3)
    net.eval()
    return net


def test_labels_are_those_of_the_pruned_network(nested, blobs, plainly):
    small = blobs[:3]
    found = predict(nested, small, prune=1).read(*WHOLE)
    assert (found == plainly.logits(nested.pruned(1), small).argmax(-1)).all()
    assert (found != predict(nested, small).read(*WHOLE)).mean() > 0.01
    assert nested.levels == 3


def test_another_level_is_another_prediction(nested, blobs, tmp_path):
    small, out = blobs.repeat(7, 0)[:70, :16, :16], tmp_path / "labels.zarr"

    def stop(done, total):
        if done > 66 * 256:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(nested, small, out, prune=1, progress=stop)
    for level, said in ((None, "null"), (2, "2")):
        with pytest.raises(InputError, match=f"begun .*with another prune .1, now {said}"):
            predict(nested, small, out, prune=level)
    seen = []
    found = predict(nested, small, out, prune=1, progress=lambda done, _: seen.append(done))
    assert seen[0] == 64 * 256
    assert (found.read(*WHOLE) == predict(nested, small, prune=1).read(*WHOLE)).all()
    told = json.loads((out / "predict.json").read_text("utf-8"))
    assert told["identity"]["prune"] == 1
    with pytest.raises(InputError, match="made with another prune"):
        predict(nested, small, out)


def test_all_levels_are_the_whole_network(nested, blobs, tmp_path):
    small, out = blobs[:3], tmp_path / "labels.zarr"
    found = predict(nested, small, out, prune=3).read(*WHOLE)
    # Made already: nothing is refused.
    assert (predict(nested, small, out).read(*WHOLE) == found).all()
    told = json.loads((out / "predict.json").read_text("utf-8"))
    assert told["identity"]["prune"] is None


@pytest.mark.parametrize("level", [0, 4, True, 1.5])
def test_levels_that_are_not_there_are_refused(level, nested, blobs):
    with pytest.raises(InputError) as told:
        predict(nested, blobs, prune=level)
    assert str(told.value) == f"prune: got {level}, wants a whole number from 1 to 3"


def test_other_networks_are_not_pruned(net, blobs):
    with pytest.raises(InputError) as told:
        predict(net, blobs, prune=1)
    assert str(told.value) == "prune: got 1 for a ModularUNet, wants a UNet++ for it"
