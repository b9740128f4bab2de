"""Pictures of every kind become the same floats, broken ones say what is wrong, masks are drawn in place."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from percepta.errors import InputError
from percepta.media import draw, image

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
FLOATS = torch.from_numpy(PIXELS.astype(np.float32) / 255).permute(2, 0, 1)


@pytest.mark.parametrize(
    "source",
    [
        PIXELS,
        PIXELS.transpose(2, 0, 1),
        PIXELS.astype(np.uint16) * 257,
        PIXELS.astype(np.float64) / 255,
        Image.fromarray(PIXELS),
        Image.fromarray(PIXELS).convert("RGBA"),
        torch.from_numpy(PIXELS),
        FLOATS,
        FLOATS.permute(1, 2, 0),
        np.dstack([PIXELS, np.full((20, 30), 255, np.uint8)]),
    ],
    ids=["hwc", "chw", "uint16", "float64", "pil", "rgba", "tensor", "chw tensor", "hwc tensor", "hw4"],
)
def test_every_form_of_the_same_picture_reads_the_same(source):
    out = image.read(source)
    assert out.dtype == torch.float32 and out.shape == (3, 20, 30)
    torch.testing.assert_close(out, FLOATS, rtol=0, atol=1e-6)


def test_ambiguous_shapes_go_by_the_house_of_their_type():
    array = RNG.random((3, 5, 3)).astype(np.float32)
    assert image.read(array).shape == (3, 3, 5)
    assert image.read(torch.from_numpy(array)).shape == (3, 5, 3)


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P", "CMYK", "YCbCr", "PA", "La", "I;16", "I", "F"])
def test_modes_of_pil(mode):
    grey = PIXELS[..., 0]
    if mode in ("I;16", "I", "F"):
        kind, scale = {"I;16": (np.uint16, 257), "I": (np.int32, 257), "F": (np.float32, 1 / 255)}[mode]
        picture = Image.fromarray((grey.astype(kind) * kind(scale)).astype(kind))
    elif mode in ("PA", "La"):
        picture = Image.fromarray(PIXELS).convert({"PA": "P", "La": "LA"}[mode]).convert(mode)
    else:
        picture = Image.fromarray(PIXELS).convert(mode)
    assert picture.mode == mode
    out = image.read(picture)
    assert out.shape == (3, 20, 30) and 0 <= out.min() <= out.max() <= 1
    expected = FLOATS[:1].expand(3, -1, -1) if mode in ("I;16", "I", "F") else FLOATS
    # The palette and YCbCr lose a little, grey and one bit lose colour: compared by brightness.
    tolerance = {"1": 0.06, "P": 0.05, "PA": 0.05}.get(mode, 0.02)
    weights = torch.tensor([0.299, 0.587, 0.114])
    brightness = torch.einsum("chw,c->hw", out, weights), torch.einsum("chw,c->hw", expected, weights)
    assert abs(float(brightness[0].mean() - brightness[1].mean())) < tolerance
    if mode not in ("1", "P", "PA"):
        torch.testing.assert_close(*brightness, rtol=0, atol=0.02)


def test_sixteen_bits_keep_their_range(tmp_path):
    values = np.array([[0, 256, 32768, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    out = image.read(tmp_path / "deep.png")
    torch.testing.assert_close(out[1, 0], torch.tensor([0, 256 / 65535, 32768 / 65535, 1]))


def test_clear_pixels_lie_on_white(tmp_path):
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 3] = 0, 255, 51
    for name in ("a.png", "a.webp"):
        Image.fromarray(rgba).save(tmp_path / name, lossless=True)
        torch.testing.assert_close(image.read(tmp_path / name)[0, 0], torch.tensor([1, 0, 0.8]))
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), mode=None).convert("P")
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.save(tmp_path / "p.png", transparency=0)
    torch.testing.assert_close(image.read(tmp_path / "p.png")[:, 0, 0], torch.ones(3))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    turns = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
        8: lambda a: np.rot90(a, 1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    Image.fromarray(PIXELS).save(path, exif=exif)
    expected = np.ascontiguousarray(turns[orientation](PIXELS))
    out = image.read(path)
    torch.testing.assert_close(out, image.read(expected))
    assert image.size(path) == tuple(out.shape[1:])


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("turned", [False, True])
def test_at_least_spares_pixels_and_keeps_the_picture(tmp_path, suffix: str, turned: bool) -> None:
    """Scaled to one size, the picture is the same within what averaging in another order changes."""
    y, x = np.mgrid[:600, :900] / 900
    pixels = np.stack([x, y, 0.5 + 0.4 * np.sin(9 * x) * np.cos(7 * y)], 2)
    whole = Image.fromarray((255 * pixels).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6 if turned else 1
    path = tmp_path / f"a.{suffix}"
    whole.save(path, quality=97, exif=exif)
    full, spared = image.read(path), image.read(path, at_least=200)
    assert full.shape[1:] == ((900, 600) if turned else (600, 900))
    assert 200 <= min(spared.shape[1:]) < 400 and spared.numel() < full.numel() / 3
    assert (image.resize(full, 96, 96) - image.resize(spared, 96, 96)).abs().mean() < 0.004
    assert torch.equal(image.read(path, at_least=601), full)


def test_at_least_leaves_transparent_and_16_bit_pictures_alone(tmp_path) -> None:
    clear = Image.new("RGBA", (600, 600), (255, 0, 0, 0))
    clear.save(tmp_path / "clear.png")
    assert torch.equal(image.read(tmp_path / "clear.png", at_least=100), torch.ones(3, 600, 600))
    deep = Image.fromarray(np.full((600, 600), 40000, np.uint16))
    deep.save(tmp_path / "deep.png")
    assert abs(float(image.read(tmp_path / "deep.png", at_least=100).mean()) - 40000 / 65535) < 1e-4


def test_shrinking_jpeg_while_decoding(tmp_path):
    y, x = np.mgrid[:600, :800] / 100
    smooth = np.stack([np.sin(x), np.cos(y), np.sin(x + y)], -1) * 100 + 128
    path = tmp_path / "large.jpg"
    Image.fromarray(smooth.astype(np.uint8)).save(path, quality=95)
    small = image.read(path, long_side=200)
    assert small.shape == (3, 150, 200)
    assert float((small - image.resize(image.read(path), 150, 200)).abs().max()) < 0.03
    assert image.read(path, long_side=2000).shape == (3, 600, 800)  # never enlarged


def test_resizing_averages_where_it_shrinks():
    board = torch.from_numpy(np.indices((64, 64)).sum(0) % 2).float()[None]
    assert float((image.resize(board, 8, 8) - 0.5).abs().max()) < 0.02
    assert float(image.resize(torch.full((2, 3, 5, 7), 0.25), 11, 3).std()) < 1e-6


def write(path, data):
    path.write_bytes(data)
    return path


def png_bytes():
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_errors_of_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg: no such file"):
        image.read(tmp_path / "gone.jpg")
    with pytest.raises(IsADirectoryError, match="this is a folder"):
        image.read(tmp_path)
    with pytest.raises(ValueError, match=r"empty \(0 bytes\)"):
        image.read(write(tmp_path / "empty.jpg", b""))
    with pytest.raises(ValueError, match="not a picture"):
        image.read(write(tmp_path / "text.jpg", b"hello, this is a text"))
    png = png_bytes()
    for cut in (20, 200, len(png) // 2):
        with pytest.raises(ValueError, match=r"cut\.png"):
            image.read(write(tmp_path / "cut.png", png[:cut]))
    damaged = png[:100] + bytes(200) + png[300:]
    with pytest.raises(ValueError, match=r"damaged\.png"):
        image.read(write(tmp_path / "damaged.png", damaged))


@pytest.mark.parametrize(
    "head",
    [
        b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00",
        b"RIFF\x00\x00\x00\x00AVI LIST",
        b"\x1aE\xdf\xa3" + bytes(20),
        b"\x00\x00\x01\xba" + bytes(20),
        b"\x00\x00\x01\xb3" + bytes(20),
    ],
    ids=["mp4", "avi", "mkv", "mpg", "mpg stream"],
)
def test_a_video_given_as_a_picture(tmp_path, head):
    for name in ("clip.mp4", "clip.jpg"):  # whatever it is called
        with pytest.raises(ValueError, match="this is a video"):
            image.read(write(tmp_path / name, head + bytes(100)))


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (np.zeros((6, 5, 7), np.uint8), ValueError, r"\(6, 5, 7\)"),
        (np.zeros((1, 3, 4, 5), np.uint8), ValueError, "one picture"),
        (np.zeros((0, 5), np.uint8), ValueError, "no pixels"),
        (np.full((4, 5), 200.0), ValueError, "divide by 255"),
        (np.full((4, 5), np.nan), ValueError, "not finite"),
        (np.zeros((4, 5), np.int64), ValueError, "not int64"),
        (17, TypeError, "int"),
    ],
)
def test_errors_of_arrays(source, error, message):
    with pytest.raises(error, match=message):
        image.read(source)


def test_round_trip_through_pil():
    np.testing.assert_array_equal(np.asarray(image.to_pil(image.read(PIXELS))), PIXELS)
    mask = PIXELS[..., 0] > 128
    np.testing.assert_array_equal(np.asarray(image.to_pil(torch.from_numpy(mask))), mask * np.uint8(255))


def test_paths(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.jpg", "a.PNG", "notes.txt", "deep/c.webp", "odd[1].jpg"):
        (tmp_path / name).write_bytes(b"x")
    names = lambda found: [p.relative_to(tmp_path).as_posix() for p in found]  # noqa: E731
    assert names(image.paths(tmp_path)) == ["a.PNG", "b.jpg", "odd[1].jpg"]
    assert names(image.paths(f"{tmp_path}/**/*.*")) == ["a.PNG", "b.jpg", "deep/c.webp", "odd[1].jpg"]
    assert names(image.paths(tmp_path / "odd[1].jpg")) == ["odd[1].jpg"]
    for where, message in ((tmp_path / "x", "no such"), (f"{tmp_path}/*.bmp", "no pictures in this pattern")):
        with pytest.raises(FileNotFoundError, match=message):
            image.paths(where)


def disc(height, width):
    y, x = np.mgrid[:height, :width]
    return (y - height / 2) ** 2 + (x - width / 2) ** 2 < (min(height, width) / 3) ** 2


def test_overlay_tints_inside_outlines_the_edge_and_leaves_the_rest():
    grey = np.full((90, 120, 3), 128, np.uint8)
    mask = disc(90, 120)
    out = np.asarray(draw.overlay(grey, mask, colour=(255, 0, 0)), int)
    assert out.shape == (90, 120, 3)
    np.testing.assert_allclose(out[45, 60], [128 + 0.45 * 127, 128 * 0.55, 128 * 0.55], atol=1)
    np.testing.assert_array_equal(out[5, 5], [128, 128, 128])
    row = out[45]
    edge = np.flatnonzero((row[:, 0] > 240) & (row[:, 1] < 20))  # nearly pure colour: the outline, twice 2 px
    assert 2 <= edge.size <= 6
    assert set(np.abs(edge - 59.5).round().astype(int)) <= {28, 29, 30, 31, 32}


def test_overlay_of_nothing_of_everything_and_on_odd_sizes():
    grey = np.full((40, 50, 3), 128, np.uint8)
    np.testing.assert_array_equal(np.asarray(draw.overlay(grey, np.zeros((40, 50), bool))), grey)
    full = np.asarray(draw.overlay(grey, np.ones((40, 50), bool)), int)
    assert full.std(axis=(0, 1)).max() == 0  # no outline along the frame
    assert draw.overlay(grey[:1, :1], np.ones((1, 1), bool), "a", score=0.5).width == 1
    with pytest.raises(ValueError, match=r"\(50, 40\), the picture \(40, 50\)"):
        draw.overlay(grey, np.zeros((50, 40), bool))


def test_the_bar_is_below_and_says_something():
    picture = np.full((200, 300, 3), 128, np.uint8)
    bare = draw.overlay(picture, np.zeros((200, 300), bool))
    short = draw.overlay(picture, np.zeros((200, 300), bool), "the red car", score=0.9)
    long = draw.overlay(picture, np.zeros((200, 300), bool), "the red car " * 10, score=0.9)
    assert bare.height < short.height < long.height and short.width == 300
    np.testing.assert_array_equal(np.asarray(short)[:200], np.asarray(bare))
    bar = np.asarray(short)[200:].max(-1)
    assert bar[:, 40:200].max() > 200 and bar[:, 260:].max() > 120  # sentence at the left, score at the right


def test_captions_stay_inside_their_width():
    font = draw.ImageFont.load_default(14)
    for text in ("short", "many words " * 30, "w" * 200, ""):
        lines = draw.wrapped(text, font, 100, 2)
        assert len(lines) <= 2 and all(font.getlength(line) <= 100 for line in lines)
    assert draw.wrapped("many words " * 30, font, 100, 2)[-1].endswith("…")


def test_sheet():
    pictures = [np.full((20 + i, 30, 3), 20 * i, np.uint8) for i in range(5)]
    page = draw.sheet(pictures, 3, 400, [f"number {i}" for i in range(5)])
    assert page.width == 400 and page.height > 200
    with pytest.raises(ValueError, match="5 pictures but 1 captions"):
        draw.sheet(pictures, captions=["one"])
    with pytest.raises(ValueError, match="at least one"):
        draw.sheet([])


def test_a_mask_of_the_tints_colour_stands_out_where_the_rest_is_dimmed():
    blue = Image.new("RGB", (60, 60), (46, 196, 255))
    mask = np.zeros((60, 60), bool)
    mask[20:40, 20:40] = True
    plain, dimmed = (
        np.asarray(draw.overlay(blue, mask, colour=(46, 196, 255), contour=0.0, dim=dim)).astype(int)
        for dim in (0.0, 0.4)
    )
    assert abs(plain[30, 30] - plain[5, 5]).max() <= 1
    assert (dimmed[30, 30] - dimmed[5, 5]).max() > 90
    nothing = np.asarray(draw.overlay(blue, np.zeros_like(mask), contour=0.0, dim=0.4))
    assert (nothing == np.asarray(blue)).all()


def test_colours_are_distinct_and_stable():
    palette = draw.colours(24)
    assert len(set(draw.colours(200))) == 200 and draw.colours(3) == palette[:3] and draw.colours(0) == []
    gaps = [np.abs(np.subtract(a, b)).sum() for i, a in enumerate(palette) for b in palette[:i]]
    assert min(gaps) > 50
    with pytest.raises(ValueError, match="at most 200"):
        draw.colours(201)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize(
    ("ending", "how"), [("tif", {}), ("tif", {"compression": "tiff_lzw"}), ("jpg", {}), ("png", {})]
)
def test_size_and_pixels_agree_however_a_picture_is_turned(tmp_path, turn: int, ending: str, how: dict) -> None:
    """TIFF says by a tag of its own how it lies, and Pillow turns it while it decodes."""
    path = tmp_path / f"a.{ending}"
    exif = Image.Exif()
    exif[0x0112] = turn
    tags = {"tiffinfo": {0x0112: turn}} if ending == "tif" else {"exif": exif}
    Image.new("RGB", (40, 20), (200, 90, 30)).save(path, **tags, **how)
    size = (20, 40) if turn < 5 else (40, 20)
    assert image.size(path) == tuple(image.read(path).shape[1:]) == size
    assert image.load(path, upright=True).size == size[::-1]


def test_a_png_that_says_much_about_itself(tmp_path) -> None:
    """Programs that make pictures write all their settings into them."""
    path, text = tmp_path / "a.png", PngImagePlugin.PngInfo()
    text.add_text("workflow", "x" * (3 << 20), zip=True)
    pixels = np.random.default_rng(0).integers(0, 255, (9, 7, 3), np.uint8)
    Image.fromarray(pixels).save(path, pnginfo=text)
    np.testing.assert_array_equal(image.to_bytes(image.read(path)).permute(1, 2, 0).numpy(), pixels)
    assert image.size(path) == (9, 7)


def test_more_pixels_than_are_read(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)  # Pillow's own limit, twice as many are an error
    monkeypatch.setattr(image, "MAX_PIXELS", 6000)
    whole = Image.new("RGB", (200, 150), (200, 90, 30))
    whole.save(tmp_path / "a.jpg")
    whole.save(tmp_path / "a.png")
    assert image.read(tmp_path / "a.jpg", long_side=50).shape == (3, 38, 50)
    assert image.size(tmp_path / "a.jpg") == (150, 200)
    with pytest.raises(InputError, match=r"a\.jpg: a picture of 0 million pixels.*PERCEPTA_MAX_PIXELS=30000"):
        image.read(tmp_path / "a.jpg")
    with pytest.raises(InputError, match=r"a\.png: too many pixels.*PERCEPTA_MAX_PIXELS"):
        image.read(tmp_path / "a.png", long_side=50)
    monkeypatch.setenv("PERCEPTA_MAX_PIXELS", "30000")
    for name in ("a.jpg", "a.png"):
        assert image.read(tmp_path / name).shape == (3, 150, 200)
    monkeypatch.setenv("PERCEPTA_MAX_PIXELS", "many")
    with pytest.raises(InputError, match="is a number of pixels"):
        image.read(tmp_path / "a.jpg")


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "I;16", "I", "F", "1", "LA"])
def test_large_pictures_are_averaged_before_they_become_floats(tmp_path, monkeypatch, mode: str) -> None:
    rng = np.random.default_rng(0)
    base = Image.fromarray(rng.integers(0, 255, (12, 17, 3), np.uint8)).resize((830, 600))
    if mode in ("I;16", "I"):
        array = np.asarray(base.convert("L")).astype(np.uint16) * 257
        picture = Image.fromarray(array) if mode == "I;16" else Image.fromarray(array.astype(np.int32))
    else:
        picture = base.convert("L") if mode == "F" else base.convert(mode)
        picture = Image.fromarray(np.asarray(picture, np.float32) / 255) if mode == "F" else picture
    path = tmp_path / ("a.tif" if mode in ("CMYK", "F", "I") else "a.png")
    picture.save(path)
    small = image.read(path, long_side=100)
    monkeypatch.setattr(image, "_LARGE", 1000)
    again = image.read(path, long_side=100)
    assert small.shape == again.shape and (small - again).abs().mean() < 0.02


def test_whatever_pillow_raises_is_an_input_error(tmp_path, monkeypatch) -> None:
    Image.new("L", (9, 9)).save(tmp_path / "a.png")

    def broken(*_: object) -> None:
        raise IndexError("list index out of range")

    monkeypatch.setattr(Image.Image, "convert", broken)
    with pytest.raises(InputError, match=r"a\.png: the picture cannot be decoded.*list index"):
        image.read(tmp_path / "a.png")
