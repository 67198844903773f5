"""Pictures: read as a viewer shows them, found, cropped and fed."""
import argparse
import itertools
import threading

import cv2
import numpy as np
import pytest
from conftest import photograph
from PIL import Image

import data_utils
from command import UsageError


def settings(**changes):
    return argparse.Namespace(**dict(dict(
        batch_size=2, crop_size=32, augment=False, lr_resize='bicubic', seed=0), **changes))


def read_back(image, path, **options):
    image.save(str(path), **options)
    return data_utils.read_image(str(path)).astype(int)


# Pixels

def test_pixels_come_back_from_floats_unchanged():
    levels = np.arange(256, dtype=np.uint8)
    floats = data_utils.standardized(levels)
    assert floats.dtype == np.float32 and floats[0] == -1 and floats[-1] == 1
    assert (data_utils.to_uint8(floats) == levels).all()


def test_floats_are_rounded_and_clipped():
    half_a_level = 0.5 / 127.5
    floats = np.array([-2, -1 + 1.2 * half_a_level, 1 - 0.9 * half_a_level, 2])
    assert data_utils.to_uint8(floats).tolist() == [0, 1, 255, 255]


def test_the_two_ways_to_reduce_a_picture():
    image = photograph(64, 64, 0)
    assert (data_utils.LR_RESIZES['article'](image, 16, 16) == cv2.resize(image, (16, 16))).all()
    assert (data_utils.LR_RESIZES['bicubic'](image, 16, 16) == np.asarray(
        Image.fromarray(image).resize((16, 16), Image.BICUBIC))).all()


def test_a_crop_can_lie_anywhere():
    image = np.arange(36).reshape(6, 6, 1)
    corners = {data_utils.random_crop(image, 4, np.random.RandomState(seed))[0, 0, 0] for seed in range(200)}
    assert corners == {0, 1, 2, 6, 7, 8, 12, 13, 14}


def test_turns_are_the_eight_of_a_square():
    image = np.arange(12).reshape(2, 2, 3)
    assert len({data_utils.random_turn(image, np.random.RandomState(seed)).tobytes() for seed in range(200)}) == 8


# Reading

def test_colour_grey_and_palette(tmp_path):
    image = photograph(20, 30, 0)
    assert (read_back(Image.fromarray(image), tmp_path / 'a.png') == image).all()
    grey = read_back(Image.fromarray(image).convert('L'), tmp_path / 'b.png')
    assert grey.shape == (20, 30, 3) and (grey[..., 0] == grey[..., 2]).all() and np.ptp(grey) > 50
    assert np.abs(read_back(Image.fromarray(image).quantize(64), tmp_path / 'c.png') - image).mean() < 15
    assert set(np.unique(read_back(Image.fromarray(image).convert('1'), tmp_path / 'd.png'))) == {0, 255}


def test_transparent_pixels_are_white(tmp_path):
    alpha = np.repeat(np.array([[0, 255, 51, 0, 255, 51, 0, 255]], np.uint8), 8, 0)
    rgba = np.dstack([np.full((8, 8, 3), 40, np.uint8), alpha])
    seen = read_back(Image.fromarray(rgba), tmp_path / 'a.png')
    assert seen[0, :3, 0].tolist() == [255, 40, 212]
    grey = Image.fromarray(rgba).convert('LA')
    assert read_back(grey, tmp_path / 'b.png')[0, :3, 0].tolist() == [255, 40, 212]
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), 'P')
    palette.putpalette([10, 20, 30, 40, 50, 60])
    assert read_back(palette, tmp_path / 'c.png', transparency=0).tolist() == [[[255] * 3, [40, 50, 60]]]


def test_sixteen_bits_keep_their_brightness(tmp_path):
    values = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    for name in ('a.png', 'a.tif'):
        assert read_back(Image.fromarray(values), tmp_path / name)[0, :, 1].tolist() == [0, 1, 128, 255]
    colour = np.dstack([values, values, values])
    assert cv2.imwrite(str(tmp_path / 'c.png'), colour)
    seen = data_utils.read_image(str(tmp_path / 'c.png')).astype(int)
    assert np.abs(seen[0, :, 0] - [0, 1, 128, 255]).max() <= 1


def test_cmyk(tmp_path):
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, :8], image[:, 8:] = (200, 40, 60), (250, 250, 250)
    seen = read_back(Image.fromarray(image).convert('CMYK'), tmp_path / 'a.jpg', quality=95)
    assert np.abs(seen - image).max() < 12


@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_turns_a_picture_upright(orientation, tmp_path):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :8] = 255
    turns = {1: None, 2: Image.FLIP_LEFT_RIGHT, 3: Image.ROTATE_180, 4: Image.FLIP_TOP_BOTTOM, 5: Image.TRANSPOSE,
             6: Image.ROTATE_90, 7: Image.TRANSVERSE, 8: Image.ROTATE_270}
    stored = Image.fromarray(upright)
    if turns[orientation] is not None:
        stored = stored.transpose(turns[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    seen = read_back(stored, tmp_path / 'a.jpg', exif=exif.tobytes(), quality=95, subsampling=0)
    assert seen.shape == upright.shape and np.abs(seen - upright).max() < 40


@pytest.mark.parametrize('content, reason', [(b'', 'empty'), (b'text', 'not a picture'), (None, 'truncated')])
def test_what_cannot_be_read_is_named(content, reason, tmp_path):
    path = tmp_path / '坏 picture.png'
    Image.fromarray(photograph(40, 40, 0)).save(str(path))
    path.write_bytes(path.read_bytes()[:2000] if content is None else content)
    with pytest.raises(data_utils.UnreadableImage) as error:
        data_utils.read_image(str(path))
    assert '坏 picture.png' in str(error.value) and reason in str(error.value)


# Finding

def test_pictures_are_found_in_sub_folders_under_any_name(tmp_path):
    names = ['b.PNG', 'a b.jpg', '中文/图 1.webp', '中文/deep/c.bmp', 'd.tif', 'e.jpeg']
    for name in names + ['notes.txt', '.hidden.png']:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'')
    found = data_utils.list_images(str(tmp_path))
    assert found == sorted(str(tmp_path / name) for name in names)


def test_one_large_enough_picture_is_held_out(tmp_path):
    for name, size in (('a', (400, 100)), ('b', (390, 500)), ('c', (900, 900))):
        Image.new('RGB', size).save(str(tmp_path / (name + '.png')))
    said = []
    paths, held_out = data_utils.find_pictures(str(tmp_path), 96, said.append)
    assert held_out.endswith('b.png') and len(paths) == 2 and not said
    lr, hr = data_utils.sample_pair(held_out, 'bicubic')
    assert lr.shape == (96, 96, 3) and hr.shape == (384, 384, 3)


def test_a_held_out_picture_that_cannot_be_read_is_replaced(tmp_path):
    for name in ('a', 'b', 'c'):
        Image.fromarray(photograph(400, 400, 1)).save(str(tmp_path / (name + '.png')))
    (tmp_path / 'a.png').write_bytes((tmp_path / 'a.png').read_bytes()[:5000])
    said = []
    paths, held_out = data_utils.find_pictures(str(tmp_path), 96, said.append)
    assert held_out.endswith('b.png') and len(paths) == 1 and 'a.png' in said[0]


def test_fewer_than_two_pictures_are_an_error(tmp_path):
    with pytest.raises(UsageError, match='0 pictures of at least 96 x 96'):
        data_utils.find_pictures(str(tmp_path), 96, print)


def test_the_embedded_photographs_are_there():
    paths, held_out = data_utils.find_pictures(None, 96, print)
    assert len(paths) == len(data_utils.EMBEDDED) and held_out not in paths
    for path in paths + [held_out]:
        assert min(data_utils.read_image(path).shape[:2]) >= 300


# The stream

@pytest.fixture
def paths(tmp_path):
    for number in range(5):
        Image.fromarray(photograph(48, 56, number)).save(str(tmp_path / ('%d.png' % number)))
    return data_utils.list_images(str(tmp_path))


def stream(paths, first=0, updates=8, cache_mb=1, stage=0, **changes):
    pictures = data_utils.Pictures(paths, cache_mb, print)
    return list(data_utils.feeds(pictures, settings(**changes), stage, updates, 4, first))


def test_a_feed_is_a_reduced_crop_and_its_original(paths):
    feed = stream(paths)[0]
    assert feed['t_image'].shape == (2, 8, 8, 3) and feed['t_target_image'].shape == (2, 32, 32, 3)
    assert {value.dtype for value in feed.values()} == {np.dtype('float32')}
    hr = data_utils.to_uint8(feed['t_target_image'][0])
    assert (data_utils.to_uint8(feed['t_image'][0]) == data_utils.bicubic_resize(hr, 8, 8)).all()
    assert any((image[top:top + 32, left:left + 32] == hr).all()
               for image in map(data_utils.read_image, paths) for top in range(17) for left in range(25))


def test_vggs_picture_is_the_same_crop(paths):
    pictures = data_utils.Pictures(paths, 1, print)
    feed = next(data_utils.feeds(pictures, settings(), 1, 1, 1, vgg_size=224))
    hr = data_utils.to_uint8(feed['t_target_image'][1])
    assert (data_utils.to_uint8(feed['vgg19_input'][1]) == cv2.resize(hr, (224, 224))).all()


def test_crops_depend_on_the_seed_and_the_position_alone(paths):
    whole = stream(paths)
    for first in (1, 3, 4, 7):
        for ours, theirs in zip(stream(paths, first, cache_mb=0), whole[first:]):
            assert all((ours[name] == theirs[name]).all() for name in ours)
    assert len(stream(paths, 3)) == 5 and stream(paths, 8) == []
    assert (stream(paths, seed=1)[0]['t_image'] != whole[0]['t_image']).any()
    assert (stream(paths, stage=1)[0]['t_image'] != whole[0]['t_image']).any()
    assert (whole[0]['t_image'] != whole[4]['t_image']).any()


def test_an_epoch_takes_every_picture_before_any_twice():
    order = data_utils.crop_order(5, 12, (0, 0, 0))
    assert sorted(order[:5]) == sorted(order[5:10]) == list(range(5)) and len(order) == 12


def test_the_cache_stays_within_its_size(tmp_path):
    for number in range(4):
        Image.fromarray(photograph(400, 400, number)).save(str(tmp_path / ('%d.png' % number)))
    pictures = data_utils.Pictures(data_utils.list_images(str(tmp_path)), 1, print)
    for index in itertools.chain(range(4), range(4)):
        pictures[index]
        assert sum(image.nbytes for image in pictures.cache.values()) <= 2 ** 20
    assert list(pictures.cache) == [2, 3]


def test_a_picture_that_turns_unreadable_is_named_once_and_replaced(paths):
    said = []
    pictures = data_utils.Pictures(paths, 0, said.append)
    open(paths[2], 'w').close()
    for _ in range(2):
        assert (pictures[2] == data_utils.read_image(paths[3])).all()
    assert len(said) == 1 and paths[2] in said[0]
    for path in paths:
        open(path, 'w').close()
    with pytest.raises(data_utils.UnreadableImage):
        pictures[0]


def test_no_reader_outlives_its_stream(paths):
    before = threading.active_count()
    feeds = data_utils.feeds(data_utils.Pictures(paths, 1, print), settings(), 0, 1000, 10)
    next(feeds)
    assert threading.active_count() > before
    feeds.close()
    assert threading.active_count() == before
