"""IoU, Pr@k, COCO run lengths and polygons against loops, laws and (where installed) pycocotools."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from percepta.metrics import masks

sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))
bool_masks = sizes.flatmap(lambda size: arrays(bool, size))
pairs = sizes.flatmap(lambda size: st.tuples(arrays(bool, size), arrays(bool, size)))


def loop_iou(a, b):
    both = either = 0
    for y in range(a.shape[0]):
        for x in range(a.shape[1]):
            both += bool(a[y, x] and b[y, x])
            either += bool(a[y, x] or b[y, x])
    return both, either


@given(pairs)
@settings(deadline=None)
def test_iou_is_what_a_loop_counts_symmetric_and_a_share(pair):
    a, b = pair
    both, either = loop_iou(a, b)
    assert masks.intersection_union(a, b) == (both, either)
    assert masks.iou(a, b) == masks.iou(b, a) == (both / either if either else 1.0)
    assert 0 <= masks.iou(a, b) <= 1
    assert masks.iou(a, a) == 1


@given(st.lists(pairs, min_size=1, max_size=6))
@settings(deadline=None)
def test_mean_and_overall_iou_against_loops(samples):
    counts = [loop_iou(a, b) for a, b in samples]
    both, either = zip(*counts, strict=True)
    total = sum(either)
    assert masks.overall_iou(both, either) == pytest.approx(sum(both) / total if total else 1.0)
    mean = sum(i / u if u else 1.0 for i, u in counts) / len(counts)
    assert masks.mean_iou(both, either) == pytest.approx(mean)


def test_mean_and_overall_iou_differ_where_sizes_do():
    # A large object found, a small one missed: half the samples, nearly all of the pixels.
    assert masks.mean_iou([1000, 0], [1000, 10]) == 0.5
    assert masks.overall_iou([1000, 0], [1000, 10]) == pytest.approx(1000 / 1010)


def test_precision_counts_strictly_above():
    assert masks.precision_at([0.5, 0.51, 0.95]) == {
        0.5: pytest.approx(2 / 3),
        0.6: pytest.approx(1 / 3),
        0.7: pytest.approx(1 / 3),
        0.8: pytest.approx(1 / 3),
        0.9: pytest.approx(1 / 3),
    }


def test_nothing_to_average_is_nan():
    assert np.isnan(masks.mean_iou([], [])) and np.isnan(masks.overall_iou([], []))
    assert all(np.isnan(value) for value in masks.precision_at([]).values())


def test_masks_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 3\) with \(3, 2\)"):
        masks.iou(np.zeros((2, 3), bool), np.zeros((3, 2), bool))


@given(bool_masks)
@settings(deadline=None)
def test_run_lengths_round_trip_through_json(mask):
    for compressed in (True, False):
        rle = json.loads(json.dumps(masks.coco_rle_encode(mask, compressed=compressed)))
        assert rle["size"] == list(mask.shape)
        np.testing.assert_array_equal(masks.coco_rle_decode(rle), mask)


def test_run_lengths_go_down_the_columns_and_start_with_background():
    mask = np.array([[1, 0, 0], [1, 0, 1]], bool)
    assert masks.coco_rle_encode(mask, compressed=False)["counts"] == [0, 2, 3, 1]


def test_compressed_string_by_hand():
    # 40 = 8 + 1·32: groups 8 and 1, the first with the bit that says "more": chr(48 + 8 + 32), chr(48 + 1).
    # The fourth number is stored as its difference to the second: 2 - 3 = -1, one group of ones.
    mask = np.zeros(60, bool)
    mask[40:43] = True
    mask[58:60] = True
    rle = masks.coco_rle_encode(mask.reshape(1, 60))
    assert rle["counts"] == chr(88) + chr(49) + chr(51) + chr(48 + 15) + chr(48 + 31)
    np.testing.assert_array_equal(masks.coco_rle_decode({**rle, "counts": rle["counts"].encode()})[0], mask)


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"counts": [4]}, "size"),
        ({"size": [2, 2], "counts": [3]}, "fill 2 × 2 pixels; they fill 3"),
        ({"size": [2, 2], "counts": [6, -2]}, "≥ 0"),
        ({"size": [2, 2], "counts": "4 "}, "position 1"),
        ({"size": [2, 2], "counts": "T"}, "ends inside a number"),
    ],
)
def test_damaged_run_lengths_say_so(rle, message):
    with pytest.raises(ValueError, match=message):
        masks.coco_rle_decode(rle)


def loop_fill(xy, height, width):
    """COCO's outline walk and toggling, one point and one pixel after the other."""
    corners = [(int(5 * x + 0.5), int(5 * y + 0.5)) for x, y in xy]
    points = []
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        dx, dy = abs(x1 - x0), abs(y1 - y0)
        wide = dx >= dy
        flip = x0 > x1 if wide else y0 > y1
        if flip:
            x0, y0, x1, y1 = x1, y1, x0, y0
        edge = []
        for t in range((dx if wide else dy) + 1):
            if wide:
                edge.append((x0 + t, int(y0 + (y1 - y0) / dx * t + 0.5) if dx else y0))
            else:
                edge.append((int(x0 + (x1 - x0) / dy * t + 0.5), y0 + t))
        points += edge[::-1] if flip else edge
    toggles = np.zeros(height * width + 1, int)
    for (u0, v0), (u1, v1) in pairwise(points):
        x, y = (min(u0, u1) + 0.5) / 5 - 0.5, (min(v0, v1) + 0.5) / 5 - 0.5
        if u0 != u1 and x == int(x) and 0 <= x <= width - 1:
            toggles[int(x) * height + int(np.ceil(min(max(y, 0), height)))] += 1
    inside, out = False, np.zeros((height, width), bool)
    for x in range(width):
        for y in range(height):
            inside ^= bool(toggles[x * height + y] % 2)
            out[y, x] = inside
    return out


coordinates = st.floats(-3, 18, allow_nan=False).map(lambda v: round(v, 2))
corner_lists = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=8)


@given(corner_lists, sizes)
@settings(max_examples=150, deadline=None)
def test_polygons_are_filled_as_the_loop_fills_them(xy, size):
    flat = [value for point in xy for value in point]
    np.testing.assert_array_equal(masks.polygons_to_mask([flat], *size), loop_fill(xy, *size))


def test_a_box_with_whole_corners_covers_the_pixels_between():
    mask = masks.polygons_to_mask([[2, 1, 5, 1, 5, 3, 2, 3]], 5, 8)
    expected = np.zeros((5, 8), bool)
    expected[1:3, 2:5] = True
    np.testing.assert_array_equal(mask, expected)


def test_several_polygons_are_united():
    a, b = [0, 0, 4, 0, 4, 4, 0, 4], [2, 2, 6, 2, 6, 6, 2, 6]
    together = masks.polygons_to_mask([a, b], 8, 8)
    alone = masks.polygons_to_mask([a], 8, 8) | masks.polygons_to_mask([b], 8, 8)
    np.testing.assert_array_equal(together, alone)
    assert together[3, 3]  # covered by both


@pytest.mark.parametrize("polygon", [[1, 1, 2, 2], [1, 1, 2, 2, 3], [1, 1, 2, 2, 3, float("nan")]])
def test_polygons_that_are_none(polygon):
    with pytest.raises(ValueError, match="three or more points"):
        masks.polygons_to_mask([polygon], 4, 4)


@pytest.mark.filterwarnings("ignore")
def test_polygons_and_run_lengths_agree_with_pycocotools():
    official = pytest.importorskip("pycocotools.mask", reason="pycocotools is in the extra 'parity'")
    rng = np.random.default_rng(0)
    for i in range(600):
        height, width = (int(n) for n in rng.integers(1, 50, 2))
        xy = rng.uniform(-0.3, 1.3, (int(rng.integers(3, 12)), 2)) * [width, height]
        xy = (xy, np.round(xy), np.round(2 * xy) / 2, np.round(xy, 2))[i % 4]
        other = rng.uniform(0, 1, (4, 2)) * [width, height]
        polygons = [points.ravel().tolist() for points in (xy, other)[: 1 + i % 2]]
        expected = official.decode(official.merge(official.frPyObjects(polygons, height, width))).astype(bool)
        mask = masks.polygons_to_mask(polygons, height, width)
        np.testing.assert_array_equal(mask, expected)
        rle = official.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert masks.coco_rle_encode(mask)["counts"] == rle["counts"].decode()
        np.testing.assert_array_equal(masks.coco_rle_decode(rle), mask)
