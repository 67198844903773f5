"""What the networks of pretrained/ make of pictures that are no photographs: flat colours, patterns, hard alpha."""
import os

import cv2
import numpy as np
import pytest
from conftest import photograph
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

import upscale
from cpu import engine, int8
from cpu.fp32 import Engine
from data_utils import bicubic_resize, embedded, read_image, standardized, to_uint8
from storage import networks

needs_int8 = pytest.mark.skipif(int8.unsupported() is not None, reason='int8: %s' % int8.unsupported())

WHITE, BLACK, RED, GREEN, BLUE, YELLOW, GREY = [
    np.uint8(colour) for colour in ((255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0),
                                    (128, 128, 128))]
PRECISIONS = ['fp32', pytest.param('auto', marks=needs_int8)]


@pytest.fixture(scope='module', params=networks.NAMES)
def models(request):
    """{precision: Engine} of a network of pretrained/."""
    return {precision: engine.load(networks.find(request.param), precision) for precision in ('fp32', 'auto')}


def text(ink, paper, height, width):
    """Three letters of 12 pixels in the middle: uint8 [height, width, 3]."""
    image = Image.new('RGB', (width, height), tuple(int(value) for value in paper))
    font = ImageFont.truetype(os.path.join(get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf'), 12)
    ImageDraw.Draw(image).text((width // 2 - 13, height // 2 - 8), 'Rag', tuple(int(value) for value in ink), font)
    return np.asarray(image)


def reduced(name):
    """A photograph of scikit-image, reduced by four: uint8 [H, W, 3]."""
    image = read_image(*embedded(name))
    return bicubic_resize(image, image.shape[1] // 4, image.shape[0] // 4)


@pytest.mark.parametrize('precision', PRECISIONS)
def test_a_grey_picture_stays_grey_in_colours_too(models, precision):
    grey = reduced('astronaut.png')[20:60, 30:90].mean(axis=2).astype(np.uint8)[:, :, np.newaxis]
    alpha = np.linspace(0, 255, grey.size).reshape(grey.shape).astype(np.uint8)
    wanted = upscale.upscale(grey, models[precision])
    assert np.array_equal(upscale.upscale(grey.repeat(3, 2), models[precision], tile=100), wanted.repeat(3, 2))
    with_alpha = upscale.upscale(np.dstack([grey.repeat(3, 2), alpha]), models[precision])
    assert np.array_equal(with_alpha, upscale.upscale(np.dstack([grey, alpha]), models[precision])[:, :, [0, 0, 0, 1]])
    # One pixel of another colour makes it a colour picture.
    coloured = grey.repeat(3, 2)
    coloured[0, 0] = RED
    assert np.ptp(upscale.upscale(coloured, models[precision])[100:], axis=2).any()


class TestFlatColours:
    """An area of one colour keeps it exactly, up to the picture's sides."""

    @pytest.mark.parametrize('precision', PRECISIONS)
    def test_a_picture_of_one_colour(self, models, precision):
        for colour in (WHITE, BLACK, RED, GREEN, BLUE, YELLOW, GREY):
            flat = np.full((9, 13, 3), colour)
            assert np.array_equal(upscale.upscale(flat, models[precision]), flat.repeat(4, 0).repeat(4, 1))

    @pytest.mark.parametrize('precision', PRECISIONS)
    @pytest.mark.parametrize('ink, paper', [(BLACK, WHITE), (BLACK, GREEN), (YELLOW, BLUE)])
    def test_paper_around_letters(self, models, precision, ink, paper):
        picture = text(ink, paper, 40, 50)
        error = upscale.upscale(picture, models[precision]).astype(int) - paper
        paper_only = (picture == paper).all(axis=2)
        # How many pixels away the nearest letter is, diagonal steps counted as one.
        distance = cv2.distanceTransform(paper_only.astype(np.uint8), cv2.DIST_C, 3).repeat(4, 0).repeat(4, 1)
        assert not error[distance > 3].any() and (distance > 3).mean() > 0.3
        # Close to the letters there is the ringing of their edges, but on average no tint and so no step.
        assert np.abs(error[distance == 2].mean(axis=0)).max() < 3
        assert np.abs(error[distance == 3]).max() < 10

    def test_every_kind_of_picture(self, models):
        model = models['fp32']
        for kind in ('L', 'CMYK', 'RGBA', 'LA'):
            picture = Image.new(kind, (9, 7), (200, 30, 70, 255)[:len(kind)] if len(kind) > 1 else 200)
            assert (np.asarray(upscale.upscale(picture, model)) == np.asarray(picture)[0, 0]).all(), kind
        turned = Image.new('RGB', (9, 7))
        turned.getexif()[0x0112] = 6
        assert upscale.upscale(turned, model).size == (28, 36)
        deep = np.full((7, 9, 3), (65535, 1, 30001), np.uint16)
        assert np.array_equal(upscale.upscale(deep, model), deep.repeat(4, 0).repeat(4, 1))
        deep[0, 0] = 0
        assert (upscale.upscale(deep, model)[-8:] == deep[-1, -1]).all()

    def test_tiles_and_turns(self, models):
        picture = text(BLACK, GREEN, 90, 100)
        whole = upscale.upscale(picture, models['fp32'])
        assert np.array_equal(upscale.upscale(picture, models['fp32'], tile=80), whole)
        small = picture[32:56, 32:66]
        turned = upscale.upscale(small, models['fp32'], ensemble=True)
        assert (turned[0] == GREEN).all() and (turned == GREEN).all(axis=2).mean() < 0.9

    def test_a_photograph_without_flat_areas_is_left_to_the_network(self, models):
        for picture in (photograph(30, 40, 1), reduced('coffee.png')[:40, :40]):
            enlarged = upscale.upscale(picture, models['fp32'])
            expected = to_uint8(models['fp32'].enlarge(standardized(picture)))
            # Two ways of rounding.
            assert np.abs(enlarged.astype(int) - expected).max() <= 1 and (enlarged != expected).mean() < 1e-3

    def test_colours_that_nobody_sees_are_no_flat_area(self, models):
        """A picture with invisible pixels around it is enlarged as one that has more of the same around it."""
        picture = photograph(20, 20, 0)
        picture[2, 2] = GREEN
        hidden = np.pad(np.dstack([picture, np.full((20, 20), 255, np.uint8)]), ((8, 8), (8, 8), (0, 0)),
                        mode='constant')
        around = np.pad(picture, ((8, 8), (8, 8), (0, 0)), mode='edge')
        expected = to_uint8(models['fp32'].enlarge(standardized(around)))[32:-32, 32:-32]
        assert np.abs(upscale.upscale(hidden, models['fp32'])[32:-32, 32:-32, :3].astype(int) - expected).mean() < 2


def patterns():
    """{kind: uint8 [48, 48, 3]} of pictures whose activations are far beyond those of photographs."""
    rng = np.random.RandomState(0)
    y, x = np.mgrid[:48, :48]
    colours = np.array([WHITE, BLACK, RED, GREEN, BLUE, YELLOW])
    photo = Image.fromarray(reduced('astronaut.png')[:48, 30:78])

    def two(mask, first=BLACK, second=WHITE):
        return np.where(np.asarray(mask, bool)[:, :, np.newaxis], second, first)

    with_sprite = reduced('coffee.png')[:64, :64].copy()
    with_sprite[20:36, 20:36] = colours[rng.randint(0, 6, (16, 16))]
    return {
        'checker of 1': two((x + y) % 2), 'checker of 2': two((x // 2 + y // 2) % 2),
        'soft checker': two((x + y) % 2, GREY - np.uint8(32), GREY + np.uint8(32)),
        'blue and yellow checker': two((x + y) % 2, BLUE, YELLOW), 'lines': two(y % 2),
        'upright lines': two(x % 3 == 0),
        'grid': two((x % 8 == 0) | (y % 8 == 0)), 'dithered photograph': np.asarray(photo.convert('1').convert('RGB')),
        'dithered in 8 colours': np.asarray(photo.quantize(8).convert('RGB')),
        'noise': rng.randint(0, 256, (48, 48, 3)).astype(np.uint8),
        'black and white noise': two(rng.rand(48, 48) < 0.5),
        'pixel art': colours[rng.randint(0, 6, (24, 24))].repeat(2, 0).repeat(2, 1),
        'saturated colours': colours[rng.randint(0, 6, (4, 4))].repeat(12, 0).repeat(12, 1),
        'text': text(BLACK, WHITE, 48, 48), 'coloured text': text(RED, GREEN, 48, 48),
        'sprite in a photograph': with_sprite,
    }


@needs_int8
class TestInt8:
    def test_auto_is_near_fp32_for_every_kind_of_picture(self, models):
        assert models['auto'].precision == 'int8'
        psnr = {}
        for kind, picture in patterns().items():
            error = upscale.upscale(picture, models['auto']).astype(float) - upscale.upscale(picture, models['fp32'])
            psnr[kind] = 10 * np.log10(255 ** 2 / max(np.mean(error ** 2), 1e-6))
        assert min(psnr.values()) >= 40, psnr

    def test_photographs_stay_in_int8(self, models):
        """Without an fp32 network, any other one would raise an exception."""
        model = Engine(models['auto'].network, None)
        for name in ('astronaut.png', 'chelsea.png', 'coffee.png', 'rocket.jpg'):
            picture = standardized(reduced(name)[:100, :100])
            error = model.enlarge(picture) - models['fp32'].enlarge(picture)
            assert 1e-4 < np.sqrt(np.mean(error ** 2)) < 2 / 10 ** (50 / 20)

    def test_a_pattern_in_one_tile_leaves_the_others_in_int8(self, models, monkeypatch):
        picture = reduced('coffee.png')[:80].copy()
        picture[:16, :16] = patterns()['checker of 1'][:16, :16]
        fp32 = models['auto'].fp32
        tiles = []
        run_body = fp32.run_body
        monkeypatch.setattr(fp32, 'run_body', lambda executor, pixels: tiles.append(1) or run_body(executor, pixels))
        upscale.upscale(picture, models['auto'], tile=100)
        assert len(tiles) == 1


class TestAlpha:
    @pytest.mark.parametrize('edge', ['hard', 'anti-aliased', 'soft'])
    def test_no_worse_than_bicubic(self, models, edge):
        y, x = (np.mgrid[:768, :768] + 0.5) / 16
        angle = np.arctan2(y - 24, x - 24)
        for shape in (np.hypot(x - 24, y - 24) < 18.3, np.hypot(x - 24, y - 24) < 12 + 7 * np.cos(5 * angle),
                      0.9 * x + 0.35 * y > 28):
            ideal = shape.reshape(192, 4, 192, 4).mean(axis=(1, 3)) * 255
            if edge == 'soft':
                ideal = cv2.GaussianBlur(ideal, (0, 0), 6)
            alpha = np.uint8(np.rint(ideal.reshape(48, 4, 48, 4).mean(axis=(1, 3))))
            if edge == 'hard':
                alpha = np.uint8(255) * (alpha >= 128)
            enlarged = upscale.upscale(np.dstack([np.full((48, 48), 90, np.uint8), alpha]), models['fp32'])[:, :, 1]
            bicubic = np.asarray(Image.fromarray(alpha).resize((192, 192), Image.BICUBIC))
            ours, theirs = [np.sqrt(np.mean((result - ideal) ** 2)) for result in (enlarged, bicubic)]
            # That opaque and transparent areas stay exactly so costs less than a hundredth.
            assert ours <= theirs * (0.5 if edge == 'anti-aliased' else 1.01), (ours, theirs)

    def test_opaque_and_transparent_areas_stay_so(self, models):
        for white in (255, 65535):
            alpha = np.zeros((20, 24), np.uint8 if white == 255 else np.uint16)
            alpha[6:14, 7:18] = white
            enlarged = upscale.upscale(np.dstack([alpha // 2, alpha]), models['fp32'])[:, :, 1]
            inside = cv2.erode(alpha, np.ones((3, 3))).repeat(4, 0).repeat(4, 1) > 0
            outside = cv2.dilate(alpha, np.ones((3, 3))).repeat(4, 0).repeat(4, 1) == 0
            assert (enlarged[inside] == white).all() and (enlarged[outside] == 0).all()
            assert len(np.unique(enlarged)) > 3
