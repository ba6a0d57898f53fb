import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bimmjax import InputError
from bimmjax.sim import MATERIALS, Material, known_material, material
from bimmjax.sim._electrons.materials import _SYMBOLS, _WEIGHTS, atomic_weight


def test_elements_are_in_order():
    assert len(_SYMBOLS) == len(_WEIGHTS) == len(set(_SYMBOLS)) == 92
    for number, symbol, weight in ((1, "H", 1.008), (26, "Fe", 55.845), (79, "Au", 196.97)):
        assert _SYMBOLS[number - 1] == symbol
        assert atomic_weight(number) == weight
    # Weights fall in four places only, all of them known for it.
    falls = [i + 1 for i in range(91) if _WEIGHTS[i + 1] < _WEIGHTS[i]]
    assert falls == [18, 27, 52, 90]


def test_shares_of_a_formula():
    water = material("water", "H2O", 1.0)
    assert dict(water.elements) == pytest.approx({1: 0.1119, 8: 0.8881}, abs=1e-4)
    assert material("acid", "CH3COOH", 1.05).elements == material("a", "C2H4O2", 1.05).elements
    assert dict(material("half", "Au0.5Ag0.5", 15.0).elements)[79] == pytest.approx(0.6461, 1e-3)


@given(st.dictionaries(st.sampled_from(_SYMBOLS), st.floats(1e-3, 1e3), min_size=1, max_size=5))
@settings(max_examples=25)
def test_shares_are_normalised(shares: dict[str, float]):
    found = material("any", shares, 1.0)
    assert sum(share for _, share in found.elements) == pytest.approx(1.0)
    assert known_material("solid", found) is found


def test_those_ready():
    assert {"gold", "epoxy", "vacuum", "nickel", "zirconia", "carbon", "silicon"} <= set(MATERIALS)
    for name, known in MATERIALS.items():
        assert known_material("solid", name) is known_material("solid", known) is known
    assert known_material("solid", "ZrO2@5.85").elements == MATERIALS["zirconia"].elements
    assert not MATERIALS["vacuum"].elements


@pytest.mark.parametrize(
    ("composition", "density", "told"),
    [
        ("zro2", 5.0, "composition: got 'zro2', wants a formula"),
        ("", 5.0, "composition: got '', wants a formula"),
        ("Xx2", 5.0, "composition: got 'Xx', wants a chemical symbol"),
        ("O0", 5.0, "composition: .* wants positive shares"),
        ({}, 5.0, "composition: .* wants positive shares"),
        ({"C": -1.0}, 5.0, "composition: .* wants positive shares"),
        ({"C": np.nan}, 5.0, "composition: .* wants positive shares"),
        ({"C": np.inf}, 5.0, "composition: .* wants positive shares"),
        ({"C": "much"}, 5.0, "composition: .* wants positive shares"),
        (None, 5.0, "composition: got None, wants positive shares"),
        ("C", 0.0, "density: got 0.0, wants g/cm³ above 0"),
        ("C", np.nan, "density: got nan, wants"),
        ("C", "2", "density: got '2', wants"),
        ("C", 31, "density: got 31, wants"),
    ],
)
def test_what_is_no_composition(composition: object, density: object, told: str):
    with pytest.raises(InputError, match=told):
        material("any", composition, density)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("golb", "solid: got 'golb', wants one of vacuum, epoxy, .*gold, or a formula"),
        (3, "solid: got 3, wants one of"),
        (["gold"], "solid: got \\['gold'\\], wants one of"),
        ("Al2O3@", "solid: got 'Al2O3@'; density: got '', wants"),
        ("Al2O3@heavy", "solid: got 'Al2O3@heavy'; density: got 'heavy', wants"),
        ("Q@2", "solid: got 'Q@2'; composition: got 'Q', wants a chemical symbol"),
        (Material("odd", ((93, 1.0),), 20.0), "solid: .*wants atomic numbers 1 to 92"),
        (Material("odd", ((6, 0.5),), 2.0), "solid: .*wants atomic numbers 1 to 92"),
        (Material("odd", ((6, 1.0),), 0.0), "solid: .*wants atomic numbers 1 to 92"),
        (Material("odd", (), 2.0), "solid: .*wants atomic numbers 1 to 92"),
        (Material("odd", ((6, "1"),), 2.0), "solid: .*wants atomic numbers 1 to 92"),
    ],
)
def test_unknown_materials_are_refused(wrong: object, told: str):
    with pytest.raises(InputError, match=told):
        known_material("solid", wrong)
