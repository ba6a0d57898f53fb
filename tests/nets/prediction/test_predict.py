"""Labels, uncertainty and consensus beside what the plain way finds; refusals."""

from __future__ import annotations

import json
import time
import weakref

import numpy as np
import pytest
from flax import nnx
from scipy import stats

from bimmjax import InputError, convert, nets, open_volume, predict
from bimmjax.nets import build
from bimmjax.nets._predict import predict as module
from bimmjax.nets._predict.images import open_images

WHOLE = (slice(None),) * 3


def read(volume):
    return volume.read(*WHOLE)


def same_but_for_ties(labels, probabilities):
    """Whether labels are the likeliest classes, but where two of them are as likely."""
    best = np.sort(probabilities, -1)
    clear = best[..., -1] - best[..., -2] > 1e-5
    assert clear.mean() > 0.9
    return (labels == probabilities.argmax(-1))[clear].all()


def test_labels_are_those_of_whole_slices(net, blobs, plainly):
    expected = plainly.logits(net, blobs).argmax(-1)
    assert np.bincount(expected.ravel()).min() > 150  # of each class there are some
    found = predict(net, open_volume(blobs, spacing=(2, 1, 1), unit="nm"))
    assert (found.dtype, found.shape, found.spacing) == (np.uint8, blobs.shape, (2.0, 1.0, 1.0))
    assert (read(found) == expected).all()
    assert (read(predict(net, blobs, tile=(26, 28))) == expected).all()
    assert (read(predict(net, blobs, devices=4)) == expected).all()


def test_channels_and_context_stand_as_in_training(blobs, plainly):
    net = build("unet", channels=2, classes=3, width=4, depth=1, context=3)
    net.eval()
    other = (blobs[::-1] // 2 + 7).astype(np.uint16)
    expected = plainly.probabilities(net, blobs, other)
    assert same_but_for_ties(read(predict(net, [blobs, other], tile=(24, 28))), expected)
    assert not same_but_for_ties(read(predict(net, [other, blobs])), expected)


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "int32", "float32", "float64"])
def test_grey_values_of_any_type_are_normalised_alike(dtype, blobs):
    grey = (blobs.astype(int) - (128 if dtype == "int8" else -1000)).astype(dtype)
    images = open_images(grey, 1, "std")
    expected = images.normalisations[0](grey[2:])
    assert expected.min() < -1 < 1 < expected.max()
    found = images.normalised(0, grey[2:])
    assert found.dtype == np.float32
    assert (found == expected).all()


def test_a_network_in_training_stays_in_training(blobs):
    net = build("modular-unet", channels=1, classes=2, width=2, depth=1)
    before = nnx.state(net, nnx.BatchStat)
    predict(net, blobs[:1])
    modes = [
        m.use_running_average for _, m in nnx.iter_modules(net) if isinstance(m, nnx.BatchNorm)
    ]
    assert modes
    assert not any(modes)
    after = nnx.state(net, nnx.BatchStat)
    assert all((a == b).all() for a, b in zip(*map(leaves, (before, after)), strict=True))


def test_uncertainty_is_the_entropy_of_the_classes(net, blobs, plainly, tmp_path):
    out = tmp_path / "labels.zarr"
    labels = predict(net, open_volume(blobs, spacing=3, unit="um"), out, uncertainty=True)
    found = open_volume(out, dataset="uncertainty")
    assert (found.dtype, found.spacing, found.unit) == (np.uint8, (3.0, 3.0, 3.0), "um")
    chances = plainly.probabilities(net, blobs).astype(float)
    expected = 255 * stats.entropy(chances, axis=-1) / np.log(3)
    assert expected.max() - expected.min() > 50
    assert np.abs(read(found) - expected).max() < 0.51
    assert same_but_for_ties(read(labels), chances)
    assert same_but_for_ties(read(open_volume(out)), chances)
    told = json.loads((out / "predict.json").read_text("utf-8"))
    counts = np.bincount(read(labels).ravel(), minlength=3)
    assert told["volume_fractions"] == pytest.approx(counts / counts.sum())
    assert told["classes"] == 3
    ((offset, factor),) = told["identity"]["normalisations"]
    assert offset == pytest.approx(blobs.mean())
    assert factor == pytest.approx(1 / blobs.std())
    assert told["megavoxels_per_second"] > 0


def test_consensus_is_the_mean_over_three_axes(net, blobs, plainly, tmp_path):
    expected = np.mean([plainly.probabilities(net, blobs, across=a) for a in range(3)], 0)
    alone = plainly.probabilities(net, blobs)
    out = tmp_path / "labels.zarr"
    labels = read(predict(net, blobs, out, consensus=True, uncertainty=True))
    assert same_but_for_ties(labels, expected)
    assert not same_but_for_ties(labels, alone)
    doubts = 255 * stats.entropy(expected.astype(float), axis=-1) / np.log(3)
    assert np.abs(read(open_volume(out, dataset="uncertainty")) - doubts).max() < 0.51


def test_views_with_tiles_alike_share_what_is_compiled(net, monkeypatch):
    made = []

    class Counted(module.Applied):
        def __init__(self, *told):
            made.append(told[1:])
            super().__init__(*told)

    monkeypatch.setattr(module, "Applied", Counted)
    grey = np.random.default_rng(0).random((12, 12, 14))
    predict(net, grey, consensus=True)
    assert sorted(told[1] for told in made) == [(12, 12), (12, 14)]


def test_what_blocks_look_at_is_let_go_of(net, monkeypatch):
    refs, alive, read_for = [], [], module.read_for

    def counted(*told):
        time.sleep(0.1)  # longer than a block takes
        alive.append(sum(ref() is not None for ref in refs))
        raw = read_for(*told)
        refs.append(weakref.ref(raw.channels[0]))
        return raw

    monkeypatch.setattr(module, "read_for", counted)
    predict(net, np.random.default_rng(0).random((320, 8, 8)))
    # Not kept while the next one is waited for; the first one is while the network is compiled.
    assert min(alive[2:]) == 0


def test_consensus_takes_context_along_each_axis(blobs, plainly):
    net = build("modular-unet", channels=1, classes=2, width=2, depth=1, context=3)
    net.eval()
    expected = np.mean([plainly.probabilities(net, blobs, across=a) for a in range(3)], 0)
    assert same_but_for_ties(read(predict(net, blobs, consensus=True)), expected)


def test_three_dimensions(blobs, plainly):
    net = build("modular-unet", channels=1, classes=2, width=2, depth=1, dims=3)
    net.eval()
    expected = plainly.probabilities(net, blobs)
    assert same_but_for_ties(read(predict(net, blobs)), expected)
    with pytest.raises(InputError, match="consensus: got a network of three dimensions"):
        predict(net, blobs, consensus=True)
    with pytest.raises(InputError, match="image: got 1 voxels along z, wants at least 2"):
        predict(net, blobs[:1])


class Pooled(nnx.Module):
    """Sees the mean of the tile: what networks are like that pool over the image."""

    dims, context, channels, classes = 2, 1, 1, 2
    multiple, halo, local = (4, 4), (0, 0), False

    def __call__(self, x):
        return 3 * (x - x.mean((1, 2, 3), keepdims=True)) * np.array([-1, 1], np.float32)


def test_networks_that_pool_are_blended_by_gaussian_weights(blobs, tmp_path):
    seen = ((blobs - blobs.mean()) / blobs.std()).astype(float)
    seen = np.pad(seen, ((0, 0), (0, 3), (0, 2)), mode="edge")  # to 40 x 44
    window = np.exp(-0.5 * ((np.arange(16) - 7.5) / 2.0) ** 2)
    total, weight = np.zeros((*seen.shape, 2)), np.zeros(seen.shape)
    # Evenly from 0 to 24 and 28 in the fewest steps of up to half a tile, on multiples of 4.
    for y in (0, 8, 16, 24):
        for x in (0, 4, 12, 20, 28):
            box = (slice(None), slice(y, y + 16), slice(x, x + 16))
            high = seen[box] - seen[box].mean((1, 2), keepdims=True)
            chance = 1 / (1 + np.exp(-6 * high))
            say = window[:, None] * window
            total[box] += say[..., None] * np.stack([1 - chance, chance], -1)
            weight[box] += say
    expected = (total / weight[..., None])[:, :37, :42]
    out = tmp_path / "labels.zarr"
    labels = read(predict(Pooled(), blobs, out, tile=(16, 16), uncertainty=True))
    assert same_but_for_ties(labels, expected)
    doubts = 255 * stats.entropy(expected, axis=-1) / np.log(2)
    assert np.abs(read(open_volume(out, dataset="uncertainty")) - doubts).max() < 0.51
    with pytest.raises(InputError, match="made with another blended"):
        predict(Pooled(), blobs, out, tile=(20, 20), uncertainty=True)


def test_a_halo_too_thick_for_tiles_is_told_and_blended(blobs, monkeypatch):
    net = build("modular-unet", channels=1, classes=2, width=2, depth=1, dims=3)
    monkeypatch.setattr("bimmjax.nets._predict.plan.voxels_at_once", lambda *_: 1000)
    with pytest.warns(UserWarning, match=r"depend on \(11, 11, 11\) voxels on either side"):
        assert predict(net, np.tile(blobs, (4, 1, 1))).shape == (44, 37, 42)


def test_what_is_no_number_has_no_label(net, blobs, tmp_path):
    grey = blobs.astype(np.float32)
    grey[3, 10:12, 20] = np.nan
    grey[5, 0, 0] = np.inf
    out = tmp_path / "labels.zarr"
    labels = read(predict(net, grey, out, uncertainty=True))
    assert ((labels == 255) == ~np.isfinite(grey)).all()
    assert (read(open_volume(out, dataset="uncertainty"))[~np.isfinite(grey)] == 255).all()
    told = json.loads((out / "predict.json").read_text("utf-8"))
    assert sum(told["volume_fractions"]) == pytest.approx(1.0)
    assert (told["voxels"], told["labelled"]) == (grey.size, grey.size - 3)


def test_a_folder_of_training_is_applied_as_it_was_trained(run_folder, blobs, plainly):
    net, recipe = nets.load(run_folder)
    low, high = np.percentile(blobs, [0.5, 99.5])
    seen = (blobs - low) / (high - low)
    # `plainly` normalises by mean and deviation: undone.
    unit = seen - seen.mean()
    expected = net_of_range(net, seen)
    assert same_but_for_ties(read(predict(run_folder, blobs)), expected)
    assert same_but_for_ties(read(predict((net, recipe), blobs)), expected)
    assert unit.std() > 0
    other = predict((net, recipe), blobs, normalise="std")
    assert same_but_for_ties(read(other), plainly.probabilities(net, blobs))


def net_of_range(net, seen):
    import jax

    padded = np.pad(seen, ((0, 0), (0, 1), (0, 0)), mode="edge").astype(np.float32)
    return np.asarray(jax.nn.softmax(net(padded[..., None]), -1))[:, :37]


def test_labels_lie_on_disk_as_those_of_segment_do(net, blobs, tmp_path):
    predict(net, blobs, tmp_path / "a.zarr")
    convert(np.zeros_like(blobs), tmp_path / "b.zarr")
    one, other = (
        json.loads((tmp_path / name / "0" / "zarr.json").read_text("utf-8"))
        for name in ("a.zarr", "b.zarr")
    )
    assert one == other
    names = {path.name for path in (tmp_path / "a.zarr").iterdir()}
    assert names == {"zarr.json", "0", "predict.json"}
    assert {path.name for path in tmp_path.iterdir()} == {"a.zarr", "b.zarr"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"net": "nothing"}, "folder: got nothing, which is no run of training"),
        ({"net": 3}, "net: got int, wants the folder of a run"),
        ({"image": ["a", "b"]}, "image: got 2 channels, wants 1, as the network was trained on"),
        ({"image": np.zeros((4, 8, 8))}, "constant or holds no number"),
        ({"image": np.zeros((4, 1, 8))}, "constant or holds no number"),
        ({"image": "absent.tif"}, "absent.tif, which does not exist"),
        ({"normalise": "other"}, "normalise: got 'other'"),
        ({"uncertainty": True}, "uncertainty: got no out"),
        ({"devices": 99}, "devices: got 99"),
        ({"tile": (8, 8)}, "tile: got (8, 8), wants at least (24, 24)"),
    ],
)
def test_bad_input_is_refused_in_one_line(change, message, net, blobs):
    with pytest.raises(InputError) as told:
        predict(**{"net": net, "image": blobs, **change})
    assert message in str(told.value)
    assert "\n" not in str(told.value)


def test_other_bad_input(net, blobs, run_folder, tmp_path):
    with pytest.raises(InputError, match="image: got 1 voxels along y, wants at least 2"):
        predict(net, blobs[:, :1])
    two = build("unet", channels=2, classes=2, width=2, depth=1)
    with pytest.raises(InputError, match=r"image: got shape \(11, 37, 41\), wants that of"):
        predict(two, [blobs, blobs[..., 1:]])
    with pytest.raises(InputError, match="image: got 1 channel, wants 2"):
        predict(two, blobs)
    with pytest.warns(UserWarning, match="wants cubic ones"):
        predict(net, open_volume(blobs, spacing=(2, 1, 1), unit="nm"), consensus=True)
    (tmp_path / "file.zarr").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="which exists"):
        predict(net, blobs, tmp_path / "file.zarr")
    wide = tmp_path / "wide"
    import shutil

    shutil.copytree(run_folder, wide)
    recipe = (wide / "recipe.toml").read_text("utf-8").replace("width = 2", "width = 3")
    (wide / "recipe.toml").write_text(recipe, encoding="utf-8")
    with pytest.raises(InputError, match=r"checkpoint: got .* of shape"):
        predict(wide, blobs)


def leaves(tree):
    import jax

    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
