import numpy as np
import pytest

from model.errors import ScanError
from model.scan.orders import DIRECTIONS, SCANS, order_table
from tests.published import orders

SIZES = [(1, 1), (8, 8), (16, 16), (128, 128)]
ANY_SIZE = ("sweep", "scan", "zigzag", "hilbert")


@pytest.mark.parametrize("key", sorted(orders()))
def test_the_published_order(key):
    scan, side = key.split("_")
    table = order_table(scan, 2, int(side), int(side))
    np.testing.assert_array_equal(table[0], orders()[key])


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("directions", DIRECTIONS)
@pytest.mark.parametrize("size", SIZES)
def test_every_row_visits_every_position_once(scan, directions, size):
    table = order_table(scan, directions, *size)
    positions = size[0] * size[1]
    assert table.shape == (directions, positions)
    assert (np.sort(table, axis=1) == np.arange(positions)).all()


@pytest.mark.parametrize("scan", ANY_SIZE)
@pytest.mark.parametrize("size", [(3, 5), (6, 2), (7, 7), (1, 4)])
def test_orders_of_any_size(scan, size):
    table = order_table(scan, 8, *size)
    assert (np.sort(table, axis=1) == np.arange(size[0] * size[1])).all()


@pytest.mark.parametrize("scan", SCANS)
def test_directions_take_the_turned_maps_and_their_reversals(scan):
    grid = np.arange(64).reshape(8, 8)
    base = SCANS[scan](8, 8)
    table = order_table(scan, 8, 8, 8)
    quarter = np.rot90(grid, k=1)
    for row, view in zip(table[:4], (grid, grid.T, quarter, quarter.T), strict=True):
        np.testing.assert_array_equal(row, view.reshape(-1)[base])
    np.testing.assert_array_equal(table[4:], table[:4, ::-1])


def test_fewer_directions_are_the_first_of_them():
    eight, four, two = (order_table("hilbert", k, 8, 8) for k in (8, 4, 2))
    np.testing.assert_array_equal(four, eight[[0, 1, 4, 5]])
    np.testing.assert_array_equal(two, eight[[0, 4]])


@pytest.mark.parametrize("side", [2, 4, 32, 256])
def test_hilbert_steps_to_a_neighbour(side):
    rows, columns = np.divmod(SCANS["hilbert"](side, side), side)
    assert (np.abs(np.diff(rows)) + np.abs(np.diff(columns)) == 1).all()


@pytest.mark.parametrize("height", range(1, 25))
@pytest.mark.parametrize("width", [1, 2, 5, 6, 11, 20, 24, 128])
def test_hilbert_walks_any_rectangle_with_one_diagonal_step_at_most(height, width):
    order = SCANS["hilbert"](height, width)
    rows, columns = np.divmod(order, width)
    down, right = np.abs(np.diff(rows)), np.abs(np.diff(columns))
    assert (np.sort(order) == np.arange(height * width)).all()
    assert (np.maximum(down, right) == 1).all()
    assert (down + right == 2).sum() <= ((height + width) % 2 == 1)


def test_hilbert_keeps_neighbours_near_in_a_rectangle():
    """Positions up to 16 steps apart are as near as on the square's curve, and nearer than rows."""

    def mean_distance(scan, height, width):
        points = np.stack(np.divmod(SCANS[scan](height, width), width), axis=1)
        return np.abs(points[16:] - points[:-16]).sum(axis=1).mean()

    square, wide = mean_distance("hilbert", 64, 64), mean_distance("hilbert", 32, 128)
    assert wide < 1.1 * square
    assert wide < 0.6 * mean_distance("scan", 32, 128)


def test_serpentine_steps_to_a_neighbour_in_a_rectangle():
    rows, columns = np.divmod(SCANS["scan"](5, 3), 3)
    assert (np.abs(np.diff(rows)) + np.abs(np.diff(columns)) == 1).all()


@pytest.mark.parametrize("size", [(8, 16), (12, 12), (6, 6)])
def test_sizes_without_a_morton_order(size):
    with pytest.raises(ScanError, match=f"{size[0]}x{size[1]}; hilbert, sweep, scan and zigzag"):
        order_table("zorder", 8, *size)


@pytest.mark.parametrize(
    ("scan", "directions", "size", "message"),
    [
        ("spiral", 8, (8, 8), "unknown scan 'spiral'; have: sweep, scan, zorder"),
        ("sweep", 3, (8, 8), "directions must be one of"),
        ("sweep", 8, (0, 8), "at least one row"),
    ],
)
def test_tables_that_do_not_exist(scan, directions, size, message):
    with pytest.raises(ScanError, match=message):
        order_table(scan, directions, *size)


def test_a_table_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        order_table("sweep", 2, 4, 4)[0, 0] = 3
