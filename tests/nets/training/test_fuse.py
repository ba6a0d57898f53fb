"""Runs of single channels as one network: the mean of their probabilities."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bimmjax import InputError
from bimmjax.nets import fuse, load, train

RECIPE = {
    "network": "unet", "settings": {"width": 2, "depth": 1}, "classes": 2, "patch": (16, 16),
    "batch": 2, "epochs": 1, "steps": 2, "split": (0.7, 0.3, 0.0), "margin": 0, "tiles": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    labels = (rng.random((10, 32, 32)) > 0.5).astype(np.uint8)
    for name in ("a", "b"):
        image = labels + rng.normal(0, 0.3, labels.shape)
        train(RECIPE | {"seed": ord(name)}, [image], [labels], folder / name)
    wide = RECIPE | {"settings": {"width": 3, "depth": 1}}
    train(wide, [labels + rng.normal(0, 0.3, labels.shape)], [labels], folder / "wide")
    return folder


def test_probabilities_are_averaged(runs):
    net, recipe = fuse([runs / "a", runs / "b"])
    assert (recipe.network, recipe.channels) == ("fusion-late", 2)
    images = jax.random.normal(jax.random.key(0), (3, 16, 16, 2))
    single = [load(runs / name)[0] for name in ("a", "b")]
    chances = [jax.nn.softmax(n(images[..., k : k + 1])) for k, n in enumerate(single)]
    found = jax.nn.softmax(net(images))
    np.testing.assert_allclose(found, jnp.mean(jnp.stack(chances), 0), atol=1e-5)


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["a"], "folders: got 1"),
        (["a", "nowhere"], "wants the folder of a finished run"),
        (["a", "wide"], "with width 3, wants 2"),
    ],
)
def test_what_cannot_be_fused_is_told(runs, names, match):
    with pytest.raises(InputError, match=match):
        fuse([runs / name for name in names])
