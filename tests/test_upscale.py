"""Pictures of every kind through upscale.py and upscale(), by a network that repeats each pixel."""
import base64
import collections
import html
import io
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import zlib

import cv2
import numpy as np
import pytest
from conftest import ROOT, Result, photograph, wait_for
from PIL import Image, ImageCms, ImageFilter, ImageOps

import data_utils
import srgan_g
import upscale
from cpu import engine
from data_utils import to_uint8
from layers import variables_of
from pictures import enlarge as enlarging
from pictures import jobs, picture, png_writer
from reading import picture_file
from srgan_g import SRGAN_g
from storage import checkpoint, files, networks

BLOCKS, FILTERS = 2, 8


def repeating_network():
    """G's variables, of the size that tests/tiny.py gives it, with which it repeats each pixel 4 x 4 times.

    Its features are the positive and the negative part of each colour, which pass all layers. It returns tanh(5x),
    so 0 and 255 come back as they are, and what lies between is `curve`.
    """
    network = {}
    for name, shape in variables_of(SRGAN_g, [None, 3, None, None]).items():
        ones = name.endswith(('.w_2', '.w_5')) or len(shape) == 1 and name.endswith('.w_0')
        network[name] = np.full(shape, 1.0 if ones else 0.0, np.float32)
    for colour in range(3):
        for part, sign in ((2 * colour, 1), (2 * colour + 1, -1)):
            network['n64s1/c.w_0'][part, colour, 1, 1] = sign
            for up in ('n256s1/1.w_0', 'n256s1/2.w_0'):
                network[up][4 * part:4 * part + 4, part, 1, 1] = 1
            network['out.w_0'][colour, part] = 5 * sign
    return network


def curve(pixels):
    """What becomes of pixels of 8 or 16 bits, each repeated 4 x 4 times."""
    white = np.iinfo(pixels.dtype).max
    values = (np.tanh(5 * (pixels.astype(np.float64) * 2 / white - 1)) + 1) / 2 * white
    return np.round(values).repeat(4, 0).repeat(4, 1)


def is_curve(enlarged, pixels):
    """Whether these are those pixels enlarged, to one level of 8 bits, or 8 levels of 16."""
    tolerance = 1 if pixels.dtype == np.uint8 else 8
    expected = curve(pixels)
    assert enlarged.dtype == pixels.dtype and enlarged.shape == expected.shape
    return np.abs(enlarged - expected).max() <= tolerance


@pytest.fixture
def network(monkeypatch, tmp_path):
    """The directory of a repeating network, relative to tmp_path."""
    monkeypatch.setattr(srgan_g, 'RESIDUAL_BLOCKS', BLOCKS)
    monkeypatch.setattr(srgan_g, 'FILTERS', FILTERS)
    checkpoint.save_network(str(tmp_path / 'network'), repeating_network().items())
    return 'network'


@pytest.fixture
def model(network, tmp_path):
    return engine.load(str(tmp_path / network), 'fp32')


@pytest.fixture
def enlarge(run, network):
    """enlarge(*arguments) runs upscale.py with that network in fp32 -> Result."""
    return lambda *arguments: run('upscale.py', '--model', network, '--precision', 'fp32', *arguments)


def test_each_picture_gets_the_network_that_serves_it(run, network, tmp_path):
    """Without a network of one's own: `photo` for what was JPEG, is noisy or out of focus, in whatever file."""
    (tmp_path / 'pretrained').mkdir()
    (tmp_path / network).rename(tmp_path / 'pretrained' / 'srgan')
    noisy = Image.fromarray(photograph(256, 288, 0))
    image = noisy.resize((72, 64), Image.BOX)
    (tmp_path / 'in').mkdir()
    image.save(str(tmp_path / 'in' / 'clean.png'))
    noisy.crop((0, 0, 72, 64)).save(str(tmp_path / 'noisy.png'))
    image.filter(ImageFilter.GaussianBlur(1.5)).save(str(tmp_path / 'soft.png'))
    image.save(str(tmp_path / 'in' / 'worn.jpg'), quality=60)
    Image.open(str(tmp_path / 'in' / 'worn.jpg')).save(str(tmp_path / 'in' / 'was_worn.png'))

    def networks_of(*arguments):
        result = run('upscale.py', *arguments, '--precision', 'fp32', '-o', 'out', '--overwrite')
        assert result.code == 0, result.err
        return re.findall(r'pretrained/(\w+) in fp32', result.out)

    assert networks_of('in') == ['srgan']
    shutil.copytree(str(tmp_path / 'pretrained' / 'srgan'), str(tmp_path / 'pretrained' / 'photo'))
    assert networks_of('in/clean.png') == ['srgan']
    assert networks_of('in/worn.jpg') == ['photo']
    assert networks_of('in/was_worn.png') == ['photo']
    assert networks_of('noisy.png') == networks_of('soft.png') == ['photo']
    assert sorted(networks_of('in')) == ['photo', 'srgan']
    result = run('upscale.py', 'in', '--precision', 'fp32', '-o', 'out', '--overwrite')
    assert {'in/clean.png: by srgan', 'in/worn.jpg: by photo', 'in/was_worn.png: by photo'} <= set(
        result.out.splitlines())
    assert networks_of('in/worn.jpg', '--model', 'srgan') == ['srgan']


class Repeater:
    """In the place of an Engine: repeats each pixel, and keeps what it was given."""

    margin = 8

    def __init__(self):
        self.values, self.deep = [], []

    def enlarge_colours(self, colours):
        return colours

    def enlarge(self, values, rows=None, columns=None, deep=False):
        self.values.append(values)
        self.deep.append(deep)
        return values[slice(*rows), slice(*columns)].repeat(4, 0).repeat(4, 1)


RGB = photograph(14, 19, 0)
GREY = RGB[:, :, 0].copy()
ALPHA = np.zeros((14, 19), np.uint8)
ALPHA[3:9, 4:15] = 255


def test_a_network_that_cannot_be_read_is_named(monkeypatch):
    """Root may read all, so the system's refusal is made here."""
    def refuse(*_):
        raise PermissionError(13, 'Permission denied', 'n64s1/c.w_0')

    monkeypatch.setattr(upscale.engine, 'load', refuse)
    with pytest.raises(upscale.UsageError, match='^pretrained/photo cannot be read: Permission denied$'):
        upscale.load_model(upscale.parse(['a.png']), 'pretrained/photo')


def test_grey_in_colours_of_16_bits(enlarge, tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), deep(GREY)[:, :, np.newaxis].repeat(3, 2))
    assert enlarge('a.png').code == 0
    enlarged = cv2.imread(str(tmp_path / 'a_x4.png'), cv2.IMREAD_UNCHANGED)
    assert enlarged.dtype == np.uint16 and enlarged.shape[2] == 3 and not np.ptp(enlarged, axis=2).any()


def deep(pixels):
    return (pixels.astype(np.uint16) * 257 + 77 * (pixels < 200)).astype(np.uint16)


class TestModes:
    """Each comes back as it came, four times larger; files through the command, all at once."""

    FILES = {
        'rgb.png': lambda path: Image.fromarray(RGB).save(path),
        'grey.png': lambda path: Image.fromarray(GREY).save(path),
        'grey_alpha.png': lambda path: Image.fromarray(np.dstack([GREY, ALPHA])).save(path),
        'rgba.png': lambda path: Image.fromarray(np.dstack([RGB, ALPHA])).save(path),
        'palette.gif': lambda path: Image.fromarray(RGB).quantize(16).save(path),
        'palette_alpha.png': lambda path: Image.fromarray(np.dstack([RGB, ALPHA])).quantize(16).save(path),
        'bits.png': lambda path: Image.fromarray(GREY >= 128).save(path),
        'key.png': lambda path: Image.fromarray(GREY).save(path, transparency=int(GREY[0, 0])),
        'cmyk.tif': lambda path: Image.fromarray(np.dstack([RGB, GREY]), 'CMYK').save(path, dpi=(200, 200)),
        'grey16.png': lambda path: Image.fromarray(deep(GREY)).save(path),
        'grey16.tif': lambda path: Image.fromarray(deep(GREY)).save(path),
        'rgb16.png': lambda path: cv2.imwrite(path, deep(RGB)[:, :, ::-1]),
        'rgb16.tiff': lambda path: cv2.imwrite(path, deep(RGB)[:, :, ::-1]),
        'rgba16.png': lambda path: cv2.imwrite(path, np.dstack([deep(RGB)[:, :, ::-1], ALPHA.astype(np.uint16) * 257])),
        'one.png': lambda path: Image.fromarray(RGB[:1, :1]).save(path),
        'line.png': lambda path: Image.fromarray(RGB[:3].repeat(60, 1)).save(path),
        'moving.gif': lambda path: Image.fromarray(RGB).save(
            path, save_all=True, append_images=[Image.fromarray(~RGB)]),
        'moving.webp': lambda path: Image.fromarray(RGB).save(
            path, lossless=True, save_all=True, append_images=[Image.fromarray(~RGB)]),
    }

    @pytest.fixture
    def enlarged(self, enlarge, tmp_path):
        """enlarged(name, ending='.png') -> the PIL image that became of FILES[name]."""
        folder = tmp_path / 'in'
        folder.mkdir()
        for name, write in self.FILES.items():
            write(str(folder / name))
        result = enlarge('in', '-o', 'out')
        assert result.code == 0, result.err
        self.out = result.out
        stems = [name.rsplit('.', 1)[0] for name in self.FILES]

        def enlarged(name, ending='.png'):
            stem = name.rsplit('.', 1)[0]
            image = Image.open(str(tmp_path / 'out' / ((name if stems.count(stem) > 1 else stem) + '_x4' + ending)))
            self.rawmode = image.tile[0][3]
            image.load()
            return image

        return enlarged

    def test_every_mode(self, enlarged, tmp_path):
        for name, mode, pixels in (('rgb.png', 'RGB', RGB), ('grey.png', 'L', GREY), ('moving.webp', 'RGB', RGB),
                                   ('line.png', 'RGB', RGB[:3].repeat(60, 1))):
            image = enlarged(name)
            assert image.mode == mode and is_curve(np.asarray(image), pixels), name
        assert 'moving.gif: the first of its 2 pictures' in self.out and 'moving.webp: the first' in self.out

        # A single pixel is an area of one colour.
        assert np.array_equal(enlarged('one.png'), RGB[:1, :1].repeat(4, 0).repeat(4, 1))

        # Alpha is 0 or 255, and becomes bicubic's; colours count where they are seen.
        smooth = np.asarray(Image.fromarray(ALPHA).resize((76, 56), Image.BICUBIC)).astype(int)
        for name, mode, pixels in (('grey_alpha.png', 'LA', GREY[:, :, np.newaxis]), ('rgba.png', 'RGBA', RGB)):
            image = enlarged(name)
            assert image.mode == mode
            got = np.asarray(image)
            assert np.abs(got[:, :, -1] - smooth).max() <= 1
            seen = ALPHA.repeat(4, 0).repeat(4, 1) > 0
            assert np.abs(got[:, :, :-1].astype(int) - curve(pixels))[seen].max() <= 1, name

        for name, mode in (('palette.gif', 'RGB'), ('palette_alpha.png', 'RGBA')):
            image = enlarged(name)
            assert image.mode == 'P'
            given = np.asarray(Image.open(str(tmp_path / 'in' / name)).convert(mode))
            got = np.asarray(image.convert(mode)).astype(float)
            seen = got[:, :, -1:] >= (128 if mode == 'RGBA' else 0)
            assert np.abs((got - curve(given))[:, :, :3] * seen).mean() < 5, name
            if mode == 'RGBA':
                smooth = np.asarray(Image.fromarray(given[:, :, 3]).resize((76, 56), Image.BICUBIC)).astype(int)
                # A palette has few steps between transparent and opaque.
                assert np.abs(got[:, :, 3] - smooth).mean() < 2
        image = enlarged('bits.png')
        assert image.mode == '1' and np.array_equal(np.asarray(image), (GREY >= 128).repeat(4, 0).repeat(4, 1))
        image = enlarged('key.png')
        assert image.mode == 'LA' and (np.asarray(image)[:2, :2, 1] == 0).all()
        image = enlarged('cmyk.tif', '.tif')
        assert image.mode == 'CMYK' and round(image.info['dpi'][0]) == 200
        assert is_curve(np.asarray(image), np.dstack([RGB, GREY]))

        for name in ('grey16.png', 'grey16.tif'):
            image = enlarged(name)
            assert self.rawmode == 'I;16B' and is_curve(np.asarray(image).astype(np.uint16), deep(GREY)), name
        for name in ('rgb16.png', 'rgb16.tiff', 'rgba16.png'):
            image = enlarged(name)
            stem = name if name != 'rgba16.png' else 'rgba16'
            pixels = cv2.imread(str(tmp_path / 'out' / (stem + '_x4.png')), cv2.IMREAD_UNCHANGED)
            seen = np.ones(pixels.shape[:2], bool) if pixels.shape[2] == 3 else pixels[:, :, 3] == 65535
            assert self.rawmode == image.mode + ';16B' and seen.any()
            assert np.abs(pixels[:, :, 2::-1].astype(float) - curve(deep(RGB)))[seen].max() <= 8, name

    @pytest.mark.parametrize('mode', ['RGB', 'L', 'L key', 'LA', 'RGBA', 'P', 'P key', '1', 'CMYK', 'YCbCr', 'I',
                                      'I;16', 'I;16B'])
    def test_reading_strip_by_strip_is_reading_at_once(self, monkeypatch, mode):
        mode, _, key = mode.partition(' ')
        if mode.startswith('I'):
            image = Image.fromarray(deep(GREY).astype({'I': np.int32, 'I;16': '<u2', 'I;16B': '>u2'}[mode]))
        else:
            image = Image.fromarray(RGB).convert(mode)
        if key:
            image.info['transparency'] = image.getpixel((0, 0))
        assert image.mode == mode
        whole = picture_file.from_image(image).pixels
        monkeypatch.setattr(picture_file, 'STRIP', 5)
        assert np.array_equal(picture_file.from_image(image).pixels, whole)
        assert len(np.unique(whole)) > (1 if mode == '1' else 5)

    @pytest.mark.parametrize('orientation', range(1, 9))
    def test_turned_upright_with_exif_profile_and_dpi(self, tmp_path, orientation):
        exif = Image.Exif()
        exif[0x0112], exif[0x010e] = orientation, 'a view'
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
        path = str(tmp_path / 'photo.png')
        Image.fromarray(RGB).save(path, exif=exif, icc_profile=profile, dpi=(300, 150))
        read = picture_file.read_picture(path)
        assert np.array_equal(read.pixels, np.asarray(ImageOps.exif_transpose(Image.open(path))))
        with open(str(tmp_path / 'out.png'), 'wb') as file:
            picture.write_picture(file, [read.pixels], read.pixels.shape[1::-1], read, '.png')
        written = Image.open(str(tmp_path / 'out.png'))
        written.load()
        assert dict(written.getexif()) == {0x010e: 'a view'}
        assert written.info['icc_profile'] == profile
        assert [round(value) for value in written.info['dpi']] == ([300, 150] if orientation < 5 else [150, 300])

    @pytest.mark.parametrize('mode', ['RGB', 'L', 'LA', 'RGBA', 'P', '1', 'CMYK', 'I', 'I;16'])
    def test_python_function_returns_what_it_was_given(self, model, mode):
        image = Image.fromarray(deep(GREY)) if mode.startswith('I') else Image.fromarray(RGB)
        image = image if image.mode == mode else image.convert(mode)
        enlarged = upscale.upscale(image, model)
        assert enlarged.mode == mode and enlarged.size == (76, 56)
        for pixels in (GREY, RGB, RGB[:, :, :1], deep(RGB), np.dstack([RGB, ALPHA])):
            enlarged = upscale.upscale(pixels, model)
            assert enlarged.dtype == pixels.dtype and enlarged.shape == (56, 76) + pixels.shape[2:]
        assert is_curve(upscale.upscale(RGB, model), RGB)

    def test_python_function_turns_the_resolution_too(self, model, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(RGB).save(str(tmp_path / 'a.jpg'), exif=exif, dpi=(300, 100))
        enlarged = upscale.upscale(Image.open(str(tmp_path / 'a.jpg')), model)
        assert enlarged.size == (56, 76) and enlarged.info['dpi'] == (100, 300)

    @pytest.mark.parametrize('array', [RGB.astype(np.float32), np.zeros((4, 4, 5), np.uint8),
                                       np.zeros((0, 4, 3), np.uint8), np.zeros(4, np.uint8)])
    def test_python_function_refuses_other_arrays(self, model, array):
        with pytest.raises(ValueError, match='uint8'):
            upscale.upscale(array, model)

    def test_colour_that_nobody_sees_does_not_bleed_into_the_edge(self):
        pixels = np.dstack([RGB, ALPHA])
        pixels[ALPHA == 0, :3] = (255, 0, 255)
        model = Repeater()
        enlarged = upscale.upscale(pixels, model)
        seen = RGB[ALPHA > 0]
        for colours in (to_uint8(model.values[0]), enlarged[:, :, :3]):
            assert all((colour == seen).all(axis=1).any() for colour in colours.reshape(-1, 3))

    def test_pictures_of_16_bits_are_computed_at_full_depth(self):
        for pixels, is_deep in ((RGB, False), (deep(RGB), True)):
            model = Repeater()
            enlarged = upscale.upscale(pixels, model)
            assert np.array_equal(enlarged, pixels.repeat(4, 0).repeat(4, 1)) and model.deep == [is_deep]

    def test_jpeg(self, enlarge, tmp_path):
        Image.fromarray(np.dstack([RGB, ALPHA])).save(str(tmp_path / 'rgba.png'))
        Image.fromarray(np.dstack([RGB, ALPHA | 255])).save(str(tmp_path / 'opaque.png'))
        Image.fromarray(np.dstack([RGB, GREY]), 'CMYK').save(str(tmp_path / 'cmyk.tif'))
        Image.fromarray(deep(GREY)).save(str(tmp_path / 'grey16.png'))
        result = enlarge('rgba.png', 'opaque.png', 'cmyk.tif', 'grey16.png', '--format', 'jpg')
        assert result.code == 0, result.err
        notes = [line for line in (result.out + result.err).splitlines() if 'JPEG has no' in line]
        assert len(notes) == 2 and 'rgba.png: on white' in notes[0] and 'grey16.png: with 8 of its 16' in notes[1]
        for name, mode in (('rgba', 'RGB'), ('cmyk', 'CMYK'), ('grey16', 'L')):
            image = Image.open(str(tmp_path / (name + '_x4.jpg')))
            assert (image.format, image.mode, image.size) == ('JPEG', mode, (76, 56))
        image = np.asarray(Image.open(str(tmp_path / 'rgba_x4.jpg')))
        assert (image[:8] > 240).all()


class TestTiles:
    @pytest.fixture
    def random_model(self, monkeypatch, tmp_path):
        """A network in which every pixel depends on all that it can see."""
        monkeypatch.setattr(srgan_g, 'RESIDUAL_BLOCKS', BLOCKS)
        rng = np.random.RandomState(0)
        network = {name: rng.normal(0, 0.08, shape).astype(np.float32) if len(shape) == 4 else
                   np.full(shape, 0.0 if '.b_' in name or name.endswith(('.w_1', '.w_4')) else 1.0, np.float32)
                   for name, shape in variables_of(SRGAN_g, [None, 3, None, None]).items()}
        checkpoint.save_network(str(tmp_path / 'random'), network.items())
        return engine.load(str(tmp_path / 'random'), 'fp32')

    @pytest.mark.parametrize('height, width', [(50, 61), (3, 200), (97, 20)])
    def test_tiles_are_the_whole_picture(self, random_model, height, width):
        pixels = deep(photograph(height, width, 1))
        whole = upscale.upscale(pixels, random_model)
        tiled = upscale.upscale(pixels, random_model, tile=2 * random_model.margin + 5)
        assert whole.std() > 2000
        assert np.abs(whole.astype(int) - tiled).max() <= 1

    def test_ensemble_is_the_mean_over_flips_and_turns(self, random_model):
        pixels = deep(photograph(20, 31, 1))
        each = []
        for turn in range(4):
            for flip in (1, -1):
                turned = np.rot90(pixels, turn)[:, ::flip]
                each.append(np.rot90(upscale.upscale(turned, random_model)[:, ::flip], -turn))
        mean = np.mean(each, axis=0)
        assert np.abs(each[0] - mean).max() > 100
        assert np.abs(upscale.upscale(pixels, random_model, ensemble=True) - mean).max() <= 2
        assert np.abs(upscale.upscale(pixels, random_model, tile=24, ensemble=True) - mean).max() <= 2

    def test_strips_come_as_their_tiles_are_done(self, model):
        """So the memory that is needed does not depend on the height of the picture."""
        tiles = []
        strips = enlarging.strips(picture_file.Picture(photograph(200, 50, 0), 'RGB'), model, tile=30,
                                progress=lambda every: (tiles.append(tile) or tile for tile in every))
        first = next(strips)
        columns = len({column for _, column in tiles})
        assert first.shape[1:] == (200, 3) and len(tiles) == columns == 3
        assert sum(len(strip) for strip in strips) + len(first) == 800

    def test_png_is_written_as_the_strips_come(self, tmp_path):
        with open(str(tmp_path / 'a.png'), 'wb') as file:
            sizes = []

            def strips():
                for _ in range(4):
                    sizes.append(file.tell())
                    yield np.random.RandomState(0).randint(0, 256, (300, 200, 3)).astype(np.uint8)

            picture.write_picture(file, strips(), (200, 1200), picture_file.Picture(RGB, 'RGB'), '.png')
        assert sizes == sorted(set(sizes))

    def test_memory_does_not_grow_over_300_sizes(self, model):
        def resident():
            with open('/proc/self/statm') as file:
                return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 2 ** 20

        sizes = [(height, width) for height in range(4, 24) for width in range(4, 20)][:300]
        for height, width in sizes[:20]:
            upscale.upscale(RGB.repeat(2, 0)[:height, :width], model)
        start = resident()
        for height, width in sizes:
            upscale.upscale(RGB.repeat(2, 0)[:height, :width], model)
        assert resident() - start < 20


class TestPng:
    @pytest.mark.parametrize('channels, dtype', [(1, np.uint8), (2, np.uint8), (3, np.uint8), (4, np.uint8),
                                                 (1, np.uint16), (3, np.uint16), (4, np.uint16)])
    def test_what_is_written_in_strips_is_read_back(self, tmp_path, channels, dtype):
        pixels = np.random.RandomState(0).randint(0, np.iinfo(dtype).max + 1, (23, 7, channels)).astype(dtype)
        path = str(tmp_path / 'a.png')
        with open(path, 'wb') as file:
            writer = png_writer.PngWriter(file, 7, 23, channels, 8 * pixels.itemsize)
            for start in range(0, 23, 5):
                writer.write(pixels[start:start + 5])
            writer.close()
        read = cv2.imread(path, cv2.IMREAD_UNCHANGED) if dtype == np.uint16 else np.asarray(Image.open(path))
        read = read.reshape(23, 7, -1)
        read = read[:, :, [2, 1, 0, 3][:channels]] if dtype == np.uint16 and channels > 2 else read
        assert np.array_equal(read, pixels)


class TestFiles:
    @pytest.fixture
    def photos(self, tmp_path):
        folder = tmp_path / '我的 照片' / '夏 天'
        folder.mkdir(parents=True)
        for number, name in enumerate(('a b.png', '海.png')):
            Image.fromarray(photograph(9, 11, number)).save(str(folder / name))
        return '我的 照片'

    def files(self, tmp_path, folder='.'):
        return sorted(os.path.relpath(os.path.join(root, name), str(tmp_path)) for root, _, names in
                      os.walk(str(tmp_path / folder)) for name in names)

    def test_beside_the_picture_and_never_again(self, enlarge, photos, tmp_path):
        first = enlarge(photos)
        assert first.code == 0 and '2 pictures enlarged' in first.out
        written = [os.path.join(photos, '夏 天', name) for name in ('a b.png', 'a b_x4.png', '海.png', '海_x4.png')]
        assert self.files(tmp_path, photos) == written
        stamp = os.stat(str(tmp_path / written[1])).st_mtime_ns
        again = enlarge(photos)
        assert again.code == 0 and '0 pictures enlarged' in again.out and '2 skipped' in again.out
        assert os.stat(str(tmp_path / written[1])).st_mtime_ns == stamp
        over = enlarge(photos, '--overwrite')
        assert '2 pictures enlarged' in over.out and 'skipped' not in over.out
        assert os.stat(str(tmp_path / written[1])).st_mtime_ns > stamp
        assert self.files(tmp_path, photos) == written

    def test_folders_are_kept_in_the_output(self, enlarge, photos, tmp_path):
        assert enlarge(photos, '-o', 'neu').code == 0
        assert self.files(tmp_path, 'neu') == [
            os.path.join('neu', '夏 天', name) for name in ('a b_x4.png', '海_x4.png')]

    def test_summary_says_pictures_megapixels_a_second_and_memory(self, enlarge, photos):
        out = enlarge(photos).out
        assert re.search(r'^network in fp32$', out, re.MULTILINE)
        assert re.search(r'^2 pictures enlarged, 0\.000198 megapixels in \S+ s, \S+ a second; peak memory \d+ MB$',
                         out, re.MULTILINE)

    def test_bad_files_are_named_and_the_others_go_on(self, enlarge, photos, tmp_path):
        folder = tmp_path / photos
        good = (folder / '夏 天' / '海.png').read_bytes()
        (folder / 'cut.png').write_bytes(good[:-40])
        (folder / 'empty.jpg').write_bytes(b'')
        (folder / 'text.png').write_text('no picture')
        result = enlarge(photos)
        assert result.code == 1 and '2 pictures enlarged' in result.out
        lines = result.err.splitlines()
        assert len(lines) == 4 and lines[-1] == 'error: 3 of 5 pictures failed'
        for name in ('cut.png', 'empty.jpg', 'text.png'):
            assert len([line for line in lines if line.startswith('failed: ') and name in line]) == 1
        assert 'cut.png: image file is truncated' in result.err
        assert not [name for name in self.files(tmp_path, photos) if name.endswith('.new')]

    def test_decompression_bomb_is_refused_with_what_allows_it(self, enlarge, tmp_path):
        with open(str(tmp_path / 'bomb.png'), 'wb') as file:
            png_writer.PngWriter(file, 60000, 60000, 1, 8).close()
        result = enlarge('bomb.png')
        assert result.code == 1 and 'bomb.png: 60000 x 60000' in result.err and '--huge' in result.err

    def test_jpeg_too_wide_is_refused_before_it_is_computed(self, enlarge, tmp_path):
        Image.new('L', (16376, 1)).save(str(tmp_path / 'wide.png'))
        result = enlarge('wide.png', '--format', 'jpg')
        assert result.code == 1 and '65500' in result.err

    def test_ctrl_c_leaves_no_half_written_picture(self, start, network, tmp_path):
        Image.fromarray(photograph(1500, 1500, 0)).save(str(tmp_path / 'large.png'))
        process = start('upscale.py', '--model', network, '--precision', 'fp32', '--tile', '64', 'large.png')
        deadline = time.time() + 60
        while not list(tmp_path.glob('.*.new')) and time.time() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        result = Result(process)
        assert result.code == 130 and result.err.strip().splitlines()[-1] == 'error: stopped'
        assert sorted(os.listdir(str(tmp_path))) == ['large.png', 'network']


class TestResults:
    """Where the results lie, whatever else is there."""

    @staticmethod
    def write(*paths):
        for number, path in enumerate(paths):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(photograph(9, 11, number)).save(str(path), 'PNG')

    @staticmethod
    def plan(*arguments):
        """jobs.plan(*arguments) -> (the jobs, what it told). Each run of the command looks anew what is there."""
        jobs.pictures_of.cache_clear()
        told = []
        return jobs.plan([str(path) for path in arguments[:-1]], arguments[-1], told.append), told

    def test_huge_takes_what_is_refused_else(self, here, tmp_path, monkeypatch):
        self.write(tmp_path / 'large.png')
        monkeypatch.setattr(upscale, 'MAX_PIXELS', 98)
        count, (line,) = here('large.png')
        assert count['failed'] == 1 and '11 x 9' in line and '--huge' in line
        assert here('large.png', '--huge')[0]['enlarged'] == 1

    @pytest.fixture
    def here(self, model, tmp_path, monkeypatch, capsys):
        """here(*arguments) does in tmp_path what the command does with them -> (its counts, its lines of errors)."""
        # Where a notebook has been tested before, the bar would be shown.
        monkeypatch.delitem(sys.modules, 'ipykernel', raising=False)

        def here(*arguments):
            monkeypatch.chdir(tmp_path)
            options = upscale.parse(arguments)
            found, _ = self.plan(*options.pictures, options.output)
            count = collections.Counter()
            assert not list(upscale.enlarge_files(found, lambda job, picture: model, options, count))
            return count, capsys.readouterr().err.splitlines()
        return here

    def test_twins_are_both_enlarged_in_separate_runs_as_in_one(self, here, tmp_path):
        self.write(tmp_path / 'cat.png')
        assert here('cat.png')[0]['enlarged'] == 1 and (tmp_path / 'cat_x4.png').exists()
        self.write(tmp_path / 'dog.png', tmp_path / 'cat.jpg')
        assert here('cat.jpg')[0]['enlarged'] == 1
        result = np.asarray(Image.open(str(tmp_path / 'cat.jpg_x4.png')))
        assert is_curve(result, photograph(9, 11, 1))
        alone, together, all_found = [self.plan(*paths, None)[0] for paths in (
            ['cat.jpg'], ['cat.png', 'cat.jpg'], ['.'])]
        assert alone[0] in together and len({job.result for job in together}) == 2
        assert {job.result for job in together} <= {os.path.normpath(job.result) for job in all_found}

    def test_a_picture_that_is_named_twice_is_enlarged_once_under_its_usual_name(self, tmp_path, monkeypatch):
        self.write(tmp_path / 'a.png', tmp_path / 'b.png')
        monkeypatch.chdir(tmp_path)
        for paths, output in ((['a.png', 'b.png', './a.png'], None), (['a.png', 'b.png', 'a.png'], 'out'),
                              (['.', 'a.png'], None)):
            found, _ = self.plan(*paths, output)
            assert sorted(os.path.basename(job.result) for job in found) == ['a_x4', 'b_x4']

    def test_no_picture_to_enlarge_is_overwritten(self, here, tmp_path):
        self.write(tmp_path / 'b.png', tmp_path / 'b_x4.png')
        before = (tmp_path / 'b_x4.png').read_bytes()
        count, lines = here('b.png', 'b_x4.png', '--overwrite')
        assert lines == ['failed: b.png: its result b_x4.png is itself a picture to enlarge; name another result by -o']
        assert (tmp_path / 'b_x4.png').read_bytes() == before and count['enlarged'] == 1
        assert (tmp_path / 'b_x4_x4.png').exists()

    def test_o_can_name_the_file(self, here, tmp_path):
        self.write(tmp_path / 'a.png', tmp_path / 'b.png')
        Image.new('CMYK', (8, 8)).save(str(tmp_path / 'c.tif'))
        for name, form in (('out.png', 'PNG'), ('sub/out.JPEG', 'JPEG')):
            assert here('a.png', '-o', name)[0]['enlarged'] == 1
            assert Image.open(str(tmp_path / name)).format == form
        before = (tmp_path / 'out.png').read_bytes()
        assert here('b.png', '-o', 'out.png')[0]['skipped'] == 1 and (tmp_path / 'out.png').read_bytes() == before
        _, lines = here('c.tif', '-o', 'c.png')
        assert len(lines) == 1 and lines[0].startswith('failed: c.tif: CMYK') and not (tmp_path / 'c.png').exists()
        for paths in (['a.png', 'b.png'], ['.']):
            with pytest.raises(upscale.UsageError, match='-o out.jpg names one file'):
                self.plan(*paths, 'out.jpg')
        with pytest.raises(upscale.UsageError, match='-o out.webp: results are written as .png .jpg'):
            self.plan('a.png', 'out.webp')
        (tmp_path / 'folder.png').mkdir()
        (job,), _ = self.plan(tmp_path / 'a.png', str(tmp_path / 'folder.png'))
        assert job.result == str(tmp_path / 'folder.png' / 'a_x4')

    def test_an_error_about_a_result_names_the_result(self, here, tmp_path):
        self.write(tmp_path / 'a.png', tmp_path / 'file')
        assert here('a.png', '-o', 'file/out')[1] == ['failed: file/out/a_x4.png cannot be written: Not a directory']
        assert here('a.png', '-o', 'file')[1] == ['failed: file/a_x4.png cannot be written: its folder is a file']
        (tmp_path / 'a_x4.png').mkdir()
        assert here('a.png', '--overwrite')[1] == ['failed: a_x4.png cannot be written: Is a directory']

    def test_names_as_long_as_a_file_system_takes(self, here, tmp_path):
        name = '猫' * 80 + 'abcd.png'
        assert len(os.fsencode(name)) == 248
        self.write(tmp_path / name)
        assert here(name)[0]['enlarged'] == 1 and (tmp_path / name.replace('.png', '_x4.png')).exists()

    def test_the_same_picture_by_two_processes_at_once(self, start, network, tmp_path):
        """The later one is told; test_files.py has the other case, in which it replaces the result of the first."""
        pixels = photograph(300, 400, 0)
        Image.fromarray(pixels).save(str(tmp_path / 'a.png'))
        both = [start('upscale.py', '--model', network, '--precision', 'fp32', 'a.png', '-o', 'both') for _ in range(2)]
        results = [Result(process) for process in both]
        assert [(result.code, result.err) for result in results] == [(0, '')] * 2
        assert sorted('1 skipped' in result.out for result in results) == [False, True]
        assert os.listdir(str(tmp_path / 'both')) == ['a_x4.png']
        assert is_curve(np.asarray(Image.open(str(tmp_path / 'both' / 'a_x4.png'))), pixels)

    def test_a_folder_is_taken_with_all_kinds_and_links_and_the_rest_is_named(self, tmp_path):
        taken = ['a.jfif', 'b.jpe', 'c.tga', 'd.ppm', 'e.jp2', 'f.GIF', 'sub/g.png']
        self.write(*[tmp_path / 'in' / name for name in taken + ['z.heic', 'a_x4.png', 'lost_x4.png']],
                   tmp_path / 'elsewhere' / 'h.png')
        os.symlink(str(tmp_path / 'elsewhere'), str(tmp_path / 'in' / 'a link'))
        os.symlink('.', str(tmp_path / 'in' / 'loop'))
        os.symlink('../../in', str(tmp_path / 'in' / 'sub' / 'up'))
        os.mkfifo(str(tmp_path / 'in' / 'pipe.png'))
        found, told = self.plan(tmp_path / 'in', None)
        assert [os.path.relpath(job.source, str(tmp_path / 'in')) for job in found] == taken + ['a link/h.png']
        assert len(told) == 2 and 'z.heic' in told[0] and 'lost_x4.png' in told[1] and 'a_x4' not in ''.join(told)
        assert [os.path.basename(path) for path in data_utils.list_images(str(tmp_path / 'in'))] == [
            'h.png', 'a.jfif', 'a_x4.png', 'b.jpe', 'c.tga', 'd.ppm', 'e.jp2', 'lost_x4.png', 'g.png']

    def test_a_folder_of_results_alone_says_so(self, tmp_path):
        self.write(tmp_path / 'in' / 'photo_x4.png')
        told = []
        with pytest.raises(upscale.UsageError, match='no picture to enlarge'):
            jobs.plan([str(tmp_path / 'in')], None, told.append)
        assert len(told) == 1 and 'photo_x4.png' in told[0] and 'result' in told[0]

    def test_whatever_a_reader_or_a_writer_raises_the_others_go_on(self, monkeypatch, model, tmp_path, capsys):
        names = [str(tmp_path / name) for name in ('a.png', 'b.png', 'c.png')]
        self.write(*map(pathlib.Path, names))
        options = upscale.parse(names)
        monkeypatch.delitem(sys.modules, 'ipykernel', raising=False)
        read, write = upscale.read_picture, upscale.write_picture

        def fail(function, path):
            def failing(*arguments):
                if path in arguments or path in getattr(arguments[0], 'name', ''):
                    raise LookupError('in two\nlines')
                return function(*arguments)
            return failing

        monkeypatch.setattr(upscale, 'read_picture', fail(read, names[0]))
        monkeypatch.setattr(upscale, 'write_picture', fail(write, '.%08x-' % zlib.crc32(b'b_x4.png')))
        count = collections.Counter()
        list(upscale.enlarge_files(jobs.plan(names, None), lambda job, picture: model, options, count))
        lines = capsys.readouterr().err.splitlines()
        assert count['failed'] == 2 and count['enlarged'] == 1 and os.path.exists(str(tmp_path / 'c_x4.png'))
        assert lines == ['failed: %s: LookupError (in two lines)' % name for name in names[:2]]

    def test_names_that_are_no_text(self, enlarge, tmp_path, monkeypatch):
        monkeypatch.setenv('PYTHONIOENCODING', 'utf-8')
        name = os.fsdecode(b'\xe9.png')
        self.write(tmp_path / name)
        (tmp_path / os.fsdecode(b'\xea.png')).write_bytes(b'')
        result = enlarge('.')
        assert result.code == 1 and '1 pictures enlarged' in result.out
        assert 'failed: ./\\udcea.png: the file is empty' in result.err.splitlines()

    def test_small_tiles_are_warned_of_with_the_factor_of_time(self, capsys):
        upscale.check_tile(300, 72)
        assert not capsys.readouterr().out
        upscale.check_tile(73, 72)
        assert '--tile 73' in capsys.readouterr().out
        upscale.check_tile(100, 72)
        assert '13 times as long' in capsys.readouterr().out


class TestWrongUsage:
    def test_one_line_and_exit_code_2(self, enlarge, run, tmp_path):
        Image.fromarray(RGB).save(str(tmp_path / 'a.png'))
        (tmp_path / 'nothing').mkdir()
        assert run('upscale.py').is_one_line(2, 'PICTURE')
        assert enlarge('missing.png').is_one_line(2, 'missing.png')
        assert enlarge('nothing').is_one_line(2, 'nothing')
        assert enlarge('a.png', '--tile', '16').is_one_line(2, '--tile')
        assert enlarge('a.png', '--tile', '-3').is_one_line(2, '--tile')
        assert enlarge('a.png', '-o', 'large.png', '--format', 'jpg').is_one_line(2, '--format jpg', '-o large.png')
        assert run('upscale.py', 'a.png', '--model', 'nowhere').is_one_line(2, 'nowhere')
        assert run('upscale.py', 'a.png', '--model', 'nothing').is_one_line(2, 'nothing')
        assert not (tmp_path / 'a_x4.png').exists()

    def test_results_that_would_be_one_file(self, tmp_path):
        for folder in ('a', 'b'):
            (tmp_path / folder).mkdir()
            Image.fromarray(RGB).save(str(tmp_path / folder / 'same.png'))
        with pytest.raises(upscale.UsageError, match='same.png'):
            jobs.plan([str(tmp_path / 'a'), str(tmp_path / 'b')], str(tmp_path / 'out'))

    def test_default_network(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(files, 'PRETRAINED', str(tmp_path / 'pretrained'))
        assert networks.default() is None
        Image.fromarray(RGB).save('a.png')
        with pytest.raises(upscale.UsageError, match='train.py'):
            upscale.main(['a.png'])
        (tmp_path / 'pretrained' / 'srgan').mkdir(parents=True)
        assert networks.default() == str(tmp_path / 'pretrained' / 'srgan')
        assert networks.find('srresnet') == str(tmp_path / 'pretrained' / 'srresnet')
        (tmp_path / 'models' / 'g_models').mkdir(parents=True)
        assert networks.default() == os.path.join('models', 'g_models')
        os.rename('models/g_models', 'models/g_models.old')
        assert networks.default() == os.path.join('models', 'g_models')
        assert networks.find('elsewhere') == 'elsewhere'


def test_export_from_the_command_line(run, network, tmp_path):
    result = run('upscale.py', '--model', network, '--export', 'exported')
    assert result.code == 0 and sorted(os.listdir(str(tmp_path / 'exported'))) == ['__model__', 'params']


def test_starts_in_under_three_seconds(tmp_path, monkeypatch):
    """A 64 x 64 picture with a whole network, from the command to its end, in the time of its own processor."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    Image.fromarray(photograph(64, 64, 0)).save(str(tmp_path / 'a.png'))
    command = [sys.executable, os.path.join(ROOT, 'upscale.py'), 'a.png', '--model', 'srresnet', '--overwrite']
    subprocess.run(command, cwd=str(tmp_path), check=True, stdout=subprocess.DEVNULL)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=str(tmp_path), check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3


class TestCompare:
    """--compare: a page of what has been enlarged."""

    @staticmethod
    def shown(path):
        """What a page shows: {name: {label: uint8 [H, W, 3]}}."""
        page = {}
        for label, alt, data in re.findall(r'<img data-label="([^"]*)" alt="([^"]*)" src="data:[^,]*,([^"]*)"',
                                           path.read_text(encoding='utf-8')):
            name = html.unescape(alt[:-len(': ' + label)])
            page.setdefault(name, {})[label] = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert('RGB'))
        return page

    def test_pictures_of_every_mode_as_a_screen_shows_them(self, enlarge, tmp_path):
        """Nearest is the browser's, from the picture itself; bicubic is Pillow's; transparent is over grey."""
        alpha = ALPHA[:, :, np.newaxis] / 255
        inks = Image.fromarray(np.dstack([RGB, GREY]), 'CMYK').convert('RGB')
        grey = GREY[:, :, np.newaxis].repeat(3, 2)
        expected = {
            'rgb.png': RGB, 'grey.png': grey, 'grey16.png': np.round(deep(grey) / 257), 'bits.png': (grey >= 128) * 255,
            'rgb16.png': np.round(deep(RGB) / 257), 'cmyk.tif': np.asarray(inks), 'one.png': RGB[:1, :1],
            'rgba.png': RGB * alpha + 128 * (1 - alpha), 'grey_alpha.png': grey * alpha + 128 * (1 - alpha),
            'rgba16.png': np.round(deep(RGB) / 257) * alpha + 128 * (1 - alpha)}
        for name in expected:
            TestModes.FILES[name](str(tmp_path / name))
        result = enlarge(*expected, '--compare')
        assert result.code == 0, result.err
        page = self.shown(tmp_path / 'compare.html')
        assert list(page) == list(expected)
        for name, views in page.items():
            low, bicubic, generated = [views[label].astype(int) for label in ('Low resolution', 'Bicubic', 'Generated')]
            assert np.abs(low - expected[name]).max() <= 1, name
            large = Image.fromarray(views['Low resolution']).resize(low.shape[1::-1] * np.array(4), Image.BICUBIC)
            assert np.array_equal(bicubic, large), name
            if name == 'cmyk.tif':
                with Image.open(str(tmp_path / 'cmyk_x4.tif')) as image:
                    wanted = np.asarray(image.convert('RGB'))
            else:
                # Colours go through the network, the ground does not.
                clear = np.ones_like(alpha) if 'a' not in name.split('.')[0].replace('grey', '') else alpha
                clear = clear[:low.shape[0], :low.shape[1]]
                colour = np.where(clear > 0, expected[name], 0).astype(np.uint8)
                # A picture of one pixel is of one colour, which stays.
                colour = colour.repeat(4, 0).repeat(4, 1) if name == 'one.png' else curve(colour)
                wanted = np.where(clear.repeat(4, 0).repeat(4, 1) > 0, colour, 128)
                # At its edges alpha is graded.
                kernel = np.ones((3, 3))
                even = (cv2.dilate(clear, kernel) == cv2.erode(clear, kernel)).repeat(4, 0).repeat(4, 1)
                generated, wanted = generated[even], wanted[even]
            assert np.abs(generated - wanted).max() <= 2, name

    @pytest.mark.parametrize('arguments, place', [
        (['a.png', 'in'], '.'), (['in'], 'in'), ([os.path.join('in', 'sub', 'b.png')], os.path.join('in', 'sub')),
        (['a.png', 'in', '-o', os.path.join('new', 'out')], os.path.join('new', 'out'))])
    def test_it_lies_where_the_last_line_says(self, enlarge, tmp_path, arguments, place):
        (tmp_path / 'in' / 'sub').mkdir(parents=True)
        for name in ('a.png', os.path.join('in', 'sub', 'b.png')):
            Image.fromarray(RGB).save(str(tmp_path / name))
        result = enlarge(*arguments, '--compare')
        path = os.path.normpath(os.path.join(place, 'compare.html'))
        assert result.code == 0 and result.out.splitlines()[-1] == 'compare them in %s' % path
        assert self.shown(tmp_path / path) and len(list(tmp_path.rglob('compare*'))) == 1

    def test_large_pictures_show_their_middle(self, enlarge, tmp_path):
        """1024 pixels of one, 512 of several, the same of each view; from several strips and tiles."""
        pixels = photograph(301, 270, 0)
        for number in range(3):
            Image.fromarray(pixels).save(str(tmp_path / ('%d.png' % number)))
        assert enlarge('0.png', '--compare', '--tile', '100').code == 0
        (name, views), = self.shown(tmp_path / 'compare.html').items()
        assert name == '0.png, its middle'
        with Image.open(str(tmp_path / '0_x4.png')) as image:
            middle = np.asarray(image)[4 * 22:4 * 278, 4 * 7:4 * 263].astype(int)
        assert np.array_equal(views['Low resolution'], pixels[22:278, 7:263])
        assert views['Generated'].shape == views['Bicubic'].shape == (1024, 1024, 3)
        # Above 400 kB it is a JPEG.
        assert np.abs(views['Generated'] - middle).mean() < 3
        assert enlarge('.', '--compare', '--overwrite').code == 0
        page = self.shown(tmp_path / 'compare.html')
        assert len(page) == 3 and {view['Generated'].shape for view in page.values()} == {(512, 512, 3)}

    def test_no_more_than_the_middle_is_held(self):
        """The strips go on as they come, and what is kept does not keep them."""
        given, kept = [np.full((40, 400, 3), number, np.uint8) for number in range(100)], []
        passed = upscale.keep_window(iter(given), slice(495, 507), slice(10, 60), kept)
        assert next(passed) is given[0] and len(kept) == 1
        assert all(strip is given[number] for number, strip in enumerate(passed, start=1))
        assert np.array_equal(np.concatenate(kept), np.concatenate(given)[1980:2028, 40:240])
        assert all(part.base is None for part in kept)

    def test_nothing_is_replaced_without_overwrite(self, enlarge, tmp_path):
        for name in ('a.png', 'b.png'):
            Image.fromarray(RGB).save(str(tmp_path / name))
        assert enlarge('a.png', '--compare').code == 0
        before = (tmp_path / 'compare.html').read_bytes()
        assert enlarge('b.png', '--compare').is_one_line(2, 'compare.html exists', '--overwrite', '-o')
        assert (tmp_path / 'compare.html').read_bytes() == before and not (tmp_path / 'b_x4.png').exists()
        assert enlarge('b.png', '--compare', '--overwrite').code == 0
        assert list(self.shown(tmp_path / 'compare.html')) == ['b.png']

    def test_what_is_skipped_or_fails_is_not_on_it(self, enlarge, tmp_path):
        folder = tmp_path / 'in'
        folder.mkdir()
        for name in ('a.png', 'b.png'):
            Image.fromarray(RGB).save(str(folder / name))
        assert enlarge(os.path.join('in', 'a.png')).code == 0
        (folder / 'cut.png').write_bytes((folder / 'b.png').read_bytes()[:-40])
        result = enlarge('in', '--compare')
        assert result.code == 1 and 'failed: ' in result.err
        assert list(self.shown(folder / 'compare.html')) == [os.path.join('in', 'b.png')]
        (folder / 'compare.html').unlink()
        (folder / 'cut.png').unlink()
        again = enlarge('in', '--compare')
        assert again.code == 0 and '2 skipped' in again.out and 'compare' not in again.out
        assert not (folder / 'compare.html').exists()

    def test_names_are_text(self, enlarge, tmp_path):
        for name in ('<b>&"x\'.png', b'\xff.png'.decode('utf-8', 'surrogateescape')):
            Image.fromarray(RGB).save(str(tmp_path / name))
        assert enlarge('.', '-o', 'out', '--compare').code == 0
        assert list(self.shown(tmp_path / 'out' / 'compare.html')) == ['./<b>&"x\'.png', './?.png']

    def test_a_folder_that_cannot_be_written_is_one_line_before_the_work(self, enlarge, tmp_path):
        Image.fromarray(RGB).save(str(tmp_path / 'a.png'))
        result = enlarge('a.png', '-o', os.path.join('a.png', 'out'), '--compare')
        assert result.is_one_line(1, os.path.join('a.png', 'out', 'compare.html')) and not result.out

    def test_a_page_that_cannot_be_written_is_one_line_after_it(self, enlarge, tmp_path):
        Image.fromarray(RGB).save(str(tmp_path / 'a.png'))
        (tmp_path / 'compare.html').mkdir()
        assert enlarge('a.png', '--compare', '--overwrite').is_one_line(1, 'Is a directory: compare.html')
        assert (tmp_path / 'a_x4.png').exists() and not list(tmp_path.glob('.*.new'))

    def test_ctrl_c_leaves_no_page(self, start, network, tmp_path):
        Image.fromarray(RGB).save(str(tmp_path / 'a.png'))
        Image.fromarray(photograph(1500, 1500, 0)).save(str(tmp_path / 'large.png'))
        process = start('upscale.py', '--model', network, '--precision', 'fp32', '--tile', '64', 'a.png', 'large.png',
                        '--compare')
        wait_for(lambda: (tmp_path / 'a_x4.png').exists() and list(tmp_path.glob('.*.new')), process)
        process.send_signal(signal.SIGINT)
        result = Result(process)
        assert result.code == 130 and result.err.strip().splitlines()[-1] == 'error: stopped'
        assert (tmp_path / 'a_x4.png').exists() and not list(tmp_path.glob('compare*'))

    def test_it_needs_pictures(self, enlarge, tmp_path):
        assert enlarge('--export', 'exported', '--compare').is_one_line(2, 'PICTURE')
