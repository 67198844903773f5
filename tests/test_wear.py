"""How worn a picture is, by pixels alone."""
import io

import cv2
import numpy as np
import pytest
from conftest import photograph
from PIL import Image, ImageDraw

from data_utils import EMBEDDED, EMBEDDED_SAMPLE, bicubic_resize, embedded, read_image
from pictures import wear
from pictures.wear import is_worn
from reading.picture_file import read_picture


def jpeg(image, quality, subsampling='4:2:0'):
    file = io.BytesIO()
    Image.fromarray(image).save(file, 'JPEG', quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(file))


def reduced(name, side=160):
    return bicubic_resize(read_image(embedded(name)[0]), side, side)


@pytest.mark.parametrize('name', [*EMBEDDED, EMBEDDED_SAMPLE])
def test_a_photograph_is_worn_once_it_has_been_jpeg_of_low_quality(name):
    image = reduced(name)
    assert not is_worn(image)
    assert all(is_worn(jpeg(image, quality, subsampling)) for quality, subsampling in (
        (80, '4:4:4'), (75, '4:2:0'), (50, '4:2:0'), (30, '4:4:4')))
    assert not is_worn(jpeg(image, 97, '4:4:4'))


def test_a_cropped_jpeg_is_still_one():
    image = jpeg(reduced(EMBEDDED_SAMPLE), 75)
    assert is_worn(image[5:, 2:]) and is_worn(image[1:, 7:])


@pytest.mark.parametrize('name', [*EMBEDDED, EMBEDDED_SAMPLE])
def test_noise_and_blur_are_wear(name):
    image = reduced(name)
    noise = np.random.RandomState(0).normal(0, 1, image.shape)

    def noisy(level, noise):
        return np.clip(np.round(image + level * noise), 0, 255).astype(np.uint8)

    assert is_worn(noisy(8, noise)) and is_worn(noisy(12, noise[..., :1])) and not is_worn(noisy(0.5, noise))
    assert is_worn(cv2.GaussianBlur(image, (0, 0), 1)) and not is_worn(cv2.GaussianBlur(image, (0, 0), 0.2))


def test_what_noise_and_blur_do_to_a_plain_edge():
    """The figures themselves: of noise its deviation, of a blur the share of the finest waves that it leaves."""
    plane = np.full((256, 256, 3), 100.0)
    for level in (3, 10):
        image = plane + np.random.RandomState(1).normal(0, level, (256, 256, 1))
        assert 0.6 * level < wear.noise(np.round(image).astype(np.uint8)) < level
    plane[:, 40:110] = 180
    left = [wear.sharpness(np.round(cv2.GaussianBlur(plane, (0, 0), width)).astype(np.uint8))
            for width in (0.3, 0.6, 1)]
    assert left[0] > 2 * left[1] > 4 * left[2] and left[2] < wear.SHARP < left[0]


def drawing(side):
    image = Image.new('RGB', (side, side), 'white')
    draw = ImageDraw.Draw(image)
    for top in range(5, side - 20, 19):
        draw.text((5 + top % 11, top), 'Letters and lines %d' % top, fill='black')
        draw.line((side // 2, top, side - 9, side - top), fill=(top % 250, 0, 90))
    return np.asarray(image)


def test_a_drawing_that_was_jpeg_is_worn_whatever_file_holds_it():
    image = drawing(400)
    assert not is_worn(image)
    for quality, top, left in ((40, 0, 0), (75, 5, 2), (90, 1, 7)):
        assert is_worn(jpeg(image, quality)[top:, left:])


def test_a_drawing_as_a_jpeg_file_is_worn_by_its_tables(tmp_path):
    path = str(tmp_path / 'drawing.jpg')
    for quality in (91, 90, 50):
        Image.fromarray(drawing(60)).save(path, quality=quality)
        picture = read_picture(path)
        assert is_worn(picture.pixels, picture.steps) == (quality <= 90)
    assert not is_worn(drawing(60))


def test_what_lies_on_a_grid_of_its_own_was_not_jpeg():
    """Tiles of faint colours, and a table whose columns alone begin at one place of 8."""
    tiles = np.kron(np.random.RandomState(0).randint(0, 6, (20, 20, 1)) + 100, np.ones((8, 8, 3), int)).astype(np.uint8)
    table = np.full((240, 240, 3), 255, np.uint8)
    for row in range(0, 230, 13):
        table[row:row + 6, 7::32] = 250
        table[row + 1:row + 5, 8::32] = 40
    assert wear.ends_at_one_place(table.astype(np.int16)) > wear.ON_GRID
    assert max(wear.flat_ends(tiles), wear.flat_ends(table)) < wear.ON_GRID


@pytest.mark.parametrize('image', [
    np.full((200, 200, 3), 255, np.uint8), np.zeros((1, 1, 3), np.uint8), photograph(9, 60, 0), photograph(16, 16, 0),
    # Stripes of one pixel, and an ordered dithering.
    np.tile(np.uint8([[[0], [255]]]), (160, 80, 3)),
    255 * (np.linspace(0, 1, 160)[:, None, None] + np.tile([[[-0.4], [0.1]], [[0.4], [-0.1]]], (80, 80, 3)) > 0.5)
    .astype(np.uint8)])
def test_flat_small_and_strange_pictures_are_not(image):
    assert not is_worn(image)
