"""Runs learn, go on with the same bits, and refuse what cannot be; translations have no seams."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bimmjax import InputError, nets, open_volume
from bimmjax.nets._adapt.load import load_translator
from bimmjax.nets._adapt.patches import Patches, normalisations
from bimmjax.nets._adapt.recipe import recipe_for
from bimmjax.nets._train.checkpoint import checkpoints, read


class Stop(Exception):
    pass


def contents(folder: Path) -> dict[str, bytes]:
    """Of all files."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_patches_of_channels_lie_on_each_other_and_repeat(kinds):
    grey = open_volume(kinds.simulated)
    double = open_volume(10.0 + 2.0 * kinds.simulated)
    how = normalisations([(grey, double)], "std")
    drawn = Patches("images", [(grey, double)], how, 16, "all", 5, 0)
    first = drawn.batch(3, 4)
    assert first.shape == (4, 16, 16, 2)
    np.testing.assert_allclose(first[..., 0], first[..., 1], atol=1e-4)
    np.testing.assert_array_equal(first[1], drawn.batch(13, 1)[0])
    other = Patches("images", [(grey, double)], how, 16, "all", 5, 1).batch(3, 4)
    assert np.abs(other - first).max() > 0.1


@pytest.mark.parametrize("how", ["std", "range"])
def test_volumes_are_normalised_together(how):
    parts = [np.arange(24.0).reshape(2, 3, 4), 50.0 + np.arange(12.0).reshape(1, 3, 4)]
    (found,) = normalisations([(open_volume(one),) for one in parts], how)
    whole = np.concatenate(parts)
    if how == "std":
        assert found == pytest.approx((whole.mean(), 1.0 / whole.std()))
    else:
        assert found == pytest.approx((0.0, 1.0 / 61.0), abs=0.2)


def test_a_run_leaves_what_it_promises(unpaired, kinds, tiny):
    assert unpaired.recipe.width == tiny["width"]
    assert [row["epoch"] for row in unpaired.history] == [1, 2]
    assert nets.read_log(unpaired.folder) == unpaired.history
    assert checkpoints(unpaired.folder) == [2]
    told = json.loads((unpaired.folder / "adapt.json").read_text("utf-8"))
    assert told["kind"] == "unpaired"
    assert told["losses"].keys() == {
        "generators", "critics", "adversarial", "cycle", "identity", "shape",
    }  # fmt: skip
    # The same command again trains nothing.
    seen: list[tuple[int, int]] = []
    again = nets.train_unpaired(
        kinds.simulated, kinds.real, unpaired.folder, progress=lambda *s: seen.append(s), **tiny
    )
    assert seen == [(6, 6)]
    assert again.history == unpaired.history


def test_an_interrupted_run_ends_with_the_same_bits(unpaired, kinds, tiny, tmp_path):
    def stop(done: int, total: int) -> None:
        if done == 5:
            raise Stop

    with pytest.raises(Stop):
        nets.train_unpaired(kinds.simulated, kinds.real, tmp_path / "run", progress=stop, **tiny)
    assert checkpoints(tmp_path / "run") == [1]
    nets.train_unpaired(kinds.simulated, kinds.real, tmp_path / "run", **tiny)
    one, other = read(tmp_path / "run", 2)[0], read(unpaired.folder, 2)[0]
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def test_pairs_teach_an_inverted_contrast(kinds, pairs, tmp_path):
    wanted = 5.0 - 3.0 * kinds.simulated
    inputs = [kinds.simulated, kinds.labels]
    told = pairs | {"epochs": 3, "steps": 40, "learning_rate": 1e-2}
    found = nets.train_paired(inputs, wanted, tmp_path / "run", **told)
    assert found.history[-1]["critics"] > 0.0
    made = np.asarray(nets.translate(found.folder, inputs))
    apart = np.abs(made - wanted).mean()
    assert apart < 0.2 * np.abs(wanted - wanted.mean()).mean()
    with pytest.raises(InputError, match=r"back: got it for .*, whose images are paired"):
        nets.translate(found.folder, inputs, back=True)
    with pytest.raises(InputError, match=r"image: got 1 channel, wants 2"):
        nets.translate(found.folder, kinds.simulated)


def test_a_loss_that_is_no_number_ends_the_run(kinds, pairs, tmp_path):
    inputs = [kinds.simulated, kinds.labels]
    huge = 1e36 * kinds.real  # whose sum over a patch is none
    with pytest.raises(
        nets.Diverged, match=r"loss: got (inf|nan), or a slope that .*, at step 1 with"
    ):
        nets.train_paired(inputs, huge, tmp_path / "run", normalise="none", **pairs)
    assert checkpoints(tmp_path / "run") == []


def test_tiles_with_their_halo_equal_the_whole_slice(unpaired, kinds, tmp_path):
    wide = np.tile(kinds.simulated[:2], (1, 2, 4))
    wide += 0.1 * np.random.default_rng(1).standard_normal(wide.shape).astype(np.float32)
    net, recipe = load_translator(unpaired.folder)
    whole = np.asarray(nets.translate(unpaired.folder, wide, tile=(80, 176)), np.float32)
    # It is no longer the identity, beyond the change of scale.
    there, here = recipe.normalisations
    change = whole - ((wide - there.offset) * there.factor / here.factor + here.offset)
    assert np.abs(change).max() > 0.01
    side = -(-(2 * net.halo[0] + 12) // 4) * 4
    assert side < 80
    made = nets.translate(unpaired.folder, wide, tmp_path / "a.zarr", tile=(side, side))
    tiled = np.asarray(made)
    np.testing.assert_allclose(tiled, whole, atol=2e-4 * np.abs(change).max())
    told = json.loads((tmp_path / "a.zarr" / "adapt.json").read_text("utf-8"))
    assert told["tile"] == [side, side]
    # Once more: it is there. And one with another volume is refused.
    again = nets.translate(unpaired.folder, wide, tmp_path / "a.zarr")
    np.testing.assert_array_equal(np.asarray(again), tiled)
    with pytest.raises(InputError, match=r"out: got .*a.zarr, made with another"):
        nets.translate(unpaired.folder, wide, tmp_path / "a.zarr", back=True)


def test_what_is_no_number_stays_so_and_grey_values_are_the_others(unpaired, kinds):
    holed = kinds.simulated.copy()
    holed[1, 20, 20] = np.nan
    made = nets.translate(unpaired.folder, holed)
    values = np.asarray(made)
    assert np.argwhere(np.isnan(values)).tolist() == [[1, 20, 20]]
    assert np.nanmean(values) == pytest.approx(kinds.real.mean(), rel=0.1)
    back = np.asarray(nets.translate(unpaired.folder, kinds.real, back=True))
    assert back.mean() == pytest.approx(kinds.simulated.mean(), abs=0.1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"width": 0}, r"width: got 0, wants a whole number"),
        ({"pixel": 1.0}, r"pixel: got 1.0, wants a setting of unpaired: generator, width"),
        ({"depth": 2}, r"depth: got 2, which has no effect here; wants a unet beside it"),
        ({"generator": "unet"}, r"generator: got 'unet' for unpaired images, wants 'resnet'"),
        ({"patch": 18}, r"patch: got 18, wants a multiple of 4 from 8 on"),
        ({"patch": 64}, r"simulated: got slices of \(40, 44\) in .*, wants at least the patch, 64"),
        ({"generator": "vae"}, r"generator: got 'vae', wants one of resnet, unet"),
        ({"learning_rate": float("nan")}, r"learning_rate: got nan"),
    ],
)
def test_bad_settings_are_refused(changed, message, kinds, tiny, tmp_path):
    with pytest.raises(InputError, match=message):
        nets.train_unpaired(kinds.simulated, kinds.real, tmp_path / "run", **(tiny | changed))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"blocks": 9}, r"blocks: got 9, which has no effect here; wants a resnet beside it"),
        ({"generator": "resnet", "depth": 3}, r"depth: got 3, which .* wants a unet"),
        ({"critic_width": 8}, r"critic_width: got 8, which .* wants an adversarial weight"),
        ({"critic_layers": 2, "adversarial": 0}, r"critic_layers: got 2, which has no effect"),
        ({"cycle": 1.0}, r"cycle: got 1.0, wants a setting of paired: generator, width"),
    ],
)
def test_settings_of_pairs_without_effect_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        recipe_for("paired", given)


def test_settings_with_an_effect_are_taken():
    assert recipe_for("paired", {"generator": "resnet", "blocks": 9}).blocks == 9
    told = {"depth": 2, "adversarial": 0.1, "critic_width": 8, "critic_layers": 2}
    assert recipe_for("paired", told).critic_width == 8
    # Nobody halves patches but the network where there is no critic.
    assert recipe_for("paired", {"depth": 1, "patch": 10}).patch == 10
    with pytest.raises(InputError, match=r"patch: got 10, wants a multiple of 2 from 16 on"):
        recipe_for("paired", {"depth": 1, "patch": 10, "adversarial": 0.1, "critic_layers": 4})


def test_a_refused_call_leaves_the_run_that_is_there(unpaired, kinds, tiny, tmp_path):
    run, (_, simulated, real) = tmp_path / "run", kinds
    shutil.copytree(unpaired.folder, run)
    before = contents(run)
    # Other grey values have another normalisation, which the recipe tells.
    with pytest.raises(InputError, match=r"which was trained on other volumes"):
        nets.train_unpaired(2.0 * simulated, real, run, **tiny)
    assert contents(run) == before
    with pytest.raises(InputError, match=r"wants at least the patch, 64"):
        nets.train_unpaired(simulated, real, run, overwrite=True, **(tiny | {"patch": 64}))
    assert contents(run) == before


def test_overwriting_begins_anew_with_the_recipe_of_the_call(kinds, tmp_path):
    told = {"width": 2, "depth": 1, "patch": 16, "batch": 1, "epochs": 1, "steps": 1}
    first = nets.train_paired(kinds.simulated, kinds.real, tmp_path / "run", **told)
    seen: list[tuple[int, int]] = []
    again = nets.train_paired(
        2.0 * kinds.simulated, kinds.real, tmp_path / "run", overwrite=True,
        progress=lambda *s: seen.append(s), **(told | {"seed": 1}),
    )  # fmt: skip
    assert seen == [(0, 1), (1, 1)]
    recipe = load_translator(tmp_path / "run")[1]
    assert recipe == again.recipe
    assert (recipe.seed, first.recipe.seed) == (1, 0)
    assert recipe.normalisations[0].factor == pytest.approx(
        first.recipe.normalisations[0].factor / 2.0
    )


def test_bad_volumes_and_folders_are_refused(unpaired, kinds, tiny, pairs, tmp_path):
    run, (_, simulated, real) = tmp_path / "run", kinds
    for name, given in (("simulated", np.ones_like(simulated)), ("simulated", simulated[0])):
        with pytest.raises(InputError, match=rf"(images|{name}): got .*"):
            nets.train_unpaired(given, real, run, **tiny)
    with pytest.raises(InputError, match=r"real: got none, wants at least one volume"):
        nets.train_unpaired(simulated, [], run, **tiny)
    with pytest.raises(InputError, match=r"targets: got shape \(4, 40, 44\), wants that of"):
        nets.train_paired(simulated, real[:4], run, **pairs)
    with pytest.raises(InputError, match=r"inputs: got 1 for 2 targets, wants as many"):
        nets.train_paired([simulated], [real, real], run, **pairs)
    with pytest.raises(InputError, match=r"a run by another recipe \(seed = 3, not 0\)"):
        nets.train_unpaired(simulated, real, unpaired.folder, **(tiny | {"seed": 3}))
    with pytest.raises(InputError, match=r"which was trained on other volumes"):
        nets.train_unpaired(simulated[::-1], real, unpaired.folder, **tiny)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("of value", encoding="utf-8")
    with pytest.raises(InputError, match=r"which is no run of adapt; wants a new folder"):
        nets.train_unpaired(simulated, real, tmp_path / "mine", **tiny)
    with pytest.raises(InputError, match=r"run: got .*, which is no run of adapt; wants one"):
        nets.translate(tmp_path / "mine", simulated)
    with pytest.raises(InputError, match=r"volume: got slices of \(40, 4\)"):
        nets.translate(unpaired.folder, simulated[:, :, :4])
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "recipe.json").write_text('{"kind": "unpaired"', encoding="utf-8")
    with pytest.raises(InputError, match=r"run: got .*recipe.json, which cannot be read"):
        nets.translate(tmp_path / "broken", simulated)
