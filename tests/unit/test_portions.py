"""How much is asked for at a time, by how the portions before went."""

from edgy_bus.portions import Portion


def test_a_portion_shrinks_to_one_and_comes_back() -> None:
    portion = Portion(100)
    sizes = [portion.size]
    for step in "bbbbwwwwwwwwb":
        (portion.went_well if step == "w" else portion.went_badly)()
        sizes.append(portion.size)
    assert sizes == [100, 25, 6, 1, 1, 2, 4, 8, 16, 32, 64, 100, 100, 25]
