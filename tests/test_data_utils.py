"""Pictures: read as a viewer shows them, and found."""
import json
import os
import time

import cv2
import numpy as np
import pytest
from conftest import photograph
from PIL import Image

import archives
import data_utils
from cli.command import UsageError
from measuring import pairs
from pictures import jobs
from reading.picture_file import UnreadableImage
from training import data_set


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
    with pytest.raises(UnreadableImage) as error:
        data_utils.read_image(str(path))
    assert '坏 picture.png' in str(error.value) and reason in str(error.value)


# Finding

def test_pictures_are_found_in_sub_folders_under_any_name(tmp_path):
    names = ['b.PNG', 'a b.jpg', '中文/图 1.webp', '中文/deep/c.bmp', 'd.tif', 'e.jpeg']
    for name in names + ['notes.txt', '.hidden.png', 'palette.gif']:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'')
    found = data_utils.list_images(str(tmp_path))
    assert found == sorted(str(tmp_path / name) for name in names)


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch, capsys):
    """By training, measuring, enlarging and unpacking. Root may read all folders; so the refusal is made here."""
    closed, scandir = tmp_path / 'b', os.scandir
    for folder in (tmp_path / 'a', closed):
        folder.mkdir()
        for name in ('1.png', '2.png'):
            Image.new('RGB', (64, 64)).save(str(folder / name))

    def refuse(path):
        if str(path) == str(closed):
            raise PermissionError(13, 'Permission denied', str(path))
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    said = []
    data_set.find_pictures([[str(tmp_path), 1]], 32, said.append)
    assert said == ['1 folders that cannot be read left out; the first is %s' % closed]
    found, left_out = pairs.find_pairs(str(tmp_path))
    assert len(found) == 2 and left_out == ['%s: this folder cannot be read' % closed]
    said = []
    assert len(jobs.plan([str(tmp_path)], None, said.append)) == 2
    assert said == ['left out: %s, which cannot be read' % closed]
    assert archives.unpack_all(str(tmp_path), str(tmp_path / 'out')) == []
    assert capsys.readouterr().err == 'left out: %s, which cannot be read\n' % closed


def test_one_large_enough_picture_is_held_out(tmp_path):
    for name, size in (('a', (400, 100)), ('b', (390, 500)), ('c', (900, 900))):
        Image.new('RGB', size).save(str(tmp_path / (name + '.png')))
    said = []
    paths, held_out, _ = data_set.find_pictures([[str(tmp_path), 1]], 96, said.append)
    assert held_out.endswith('b.png') and len(paths) == 2 and not said
    lr, hr = data_set.sample_pair(held_out, 'bicubic')
    assert lr.shape == (96, 96, 3) and hr.shape == (384, 384, 3)


def test_a_held_out_picture_that_cannot_be_read_is_replaced(tmp_path):
    for name in ('a', 'b', 'c'):
        Image.fromarray(photograph(400, 400, 1)).save(str(tmp_path / (name + '.png')))
    (tmp_path / 'a.png').write_bytes((tmp_path / 'a.png').read_bytes()[:5000])
    said = []
    paths, held_out, _ = data_set.find_pictures([[str(tmp_path), 1]], 96, said.append)
    assert held_out.endswith('b.png') and len(paths) == 1 and 'a.png' in said[0]


def test_fewer_than_two_pictures_are_an_error(tmp_path):
    with pytest.raises(UsageError, match='0 pictures of at least 96 x 96'):
        data_set.find_pictures([[str(tmp_path), 1]], 96, print)


def test_the_embedded_photographs_are_there():
    paths, held_out, _ = data_set.find_pictures(None, 96, print)
    assert len(paths) == len(data_utils.EMBEDDED) and held_out not in paths
    for path in paths + [held_out]:
        assert min(data_utils.read_image(path).shape[:2]) >= 300


def test_an_embedded_photograph_that_is_missing_is_named():
    with pytest.raises(UsageError, match='data/yeti.png.* is missing'):
        data_utils.embedded('chelsea.png', 'yeti.png')


def test_embedded_photographs_that_are_smaller_than_the_crop_are_named():
    said = []
    paths, _, _ = data_set.find_pictures(None, 400, said.append)
    left_out = len(data_utils.EMBEDDED) - len(paths)
    assert left_out and said[0].startswith('%d of %d pictures left out' % (left_out, len(data_utils.EMBEDDED)))


def write(folder, *names, size=(40, 40)):
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        Image.fromarray(photograph(size[1], size[0], number)).save(str(folder / name))


def test_a_picture_is_listed_as_often_as_its_folders_weight_says(tmp_path):
    write(tmp_path / 'a', 'held out.png', size=(400, 400))
    write(tmp_path / 'a', '1.png', '2.png')
    write(tmp_path / 'b=2', '3.png')
    data = [[str(tmp_path / 'a'), 1], [str(tmp_path / 'b=2'), 3]]
    paths, held_out, _ = data_set.find_pictures(data, 32, print)
    assert [os.path.relpath(path, str(tmp_path)) for path in paths] == ['a/1.png', 'a/2.png'] + ['b=2/3.png'] * 3
    assert held_out.endswith('held out.png')


def test_every_trainer_of_a_resumed_run_holds_out_the_picture_of_before(tmp_path):
    write(tmp_path / 'a', '1.png', '2.png')
    data, index = [[str(tmp_path / 'a'), 1]], str(tmp_path / 'index')
    before = data_set.find_pictures(data, 32, print, index)[1]
    written = (tmp_path / 'index').read_text()
    write(tmp_path / 'a', 'larger.png', size=(400, 400))
    assert data_set.find_pictures(data, 32, print, index, resume=True, keep=False)[1] == before
    assert (tmp_path / 'index').read_text() == written
    assert data_set.find_pictures(data, 32, print, index, resume=True)[1] == before
    assert (tmp_path / 'index').read_text() != written


def test_a_picture_in_two_of_the_folders_counts_for_both_but_is_never_held_out_and_trained_on(tmp_path, monkeypatch):
    write(tmp_path / 'inner', '1.png', '2.png')
    write(tmp_path / 'inner', '3.png', size=(60, 60))
    monkeypatch.chdir(str(tmp_path))
    paths, held_out, _ = data_set.find_pictures([['.', 1], ['inner/', 2]], 32, print)
    assert held_out.endswith('3.png')
    assert sorted(map(os.path.basename, paths)) == ['1.png'] * 3 + ['2.png'] * 3


# The index

@pytest.fixture
def headers(monkeypatch):
    """The names of the pictures whose headers are read."""
    read, read_size = [], data_set.read_size
    monkeypatch.setattr(data_set, 'read_size', lambda path: read.append(os.path.basename(path)) or read_size(path))
    return read


def test_what_has_not_changed_is_known_the_next_time(tmp_path, headers):
    write(tmp_path, 'a.png', 'b.png', 'c.png', 'gone.png')
    (tmp_path / 'bad.png').write_bytes(b'text')
    index = str(tmp_path / 'pictures.json')
    first, again = [data_set.short_sides(data_utils.list_images(str(tmp_path)), index) for _ in range(2)]
    assert first == again and first[str(tmp_path / 'b.png')] == 40
    assert 'not a picture' in first[str(tmp_path / 'bad.png')]
    assert headers == ['a.png', 'b.png', 'bad.png', 'c.png', 'gone.png']
    del headers[:]
    (tmp_path / 'gone.png').unlink()
    write(tmp_path, 'b.png', size=(50, 60))
    write(tmp_path, 'new.png')
    sides = data_set.short_sides(data_utils.list_images(str(tmp_path)), index)
    assert headers == ['b.png', 'new.png'] and sides[str(tmp_path / 'b.png')] == 50 and len(sides) == 5
    assert set(json.load(open(index))[data_set.INDEX]) == set(sides)


def test_another_file_of_the_same_size_and_age_is_noticed(tmp_path, headers):
    for name, size in (('a.bmp', (60, 50)), ('b.bmp', (50, 60))):
        Image.new('RGB', size).save(str(tmp_path / name))
    a, b = str(tmp_path / 'a.bmp'), str(tmp_path / 'b.bmp')
    for path in (a, b):
        with open(path, 'ab') as file:
            file.write(bytes(20000 - os.path.getsize(path)))
        os.utime(path, (1, 1))
    data_set.short_sides([a], str(tmp_path / 'index'))
    os.replace(b, a)
    data_set.short_sides([a], str(tmp_path / 'index'))
    assert headers == ['a.bmp', 'a.bmp']


@pytest.mark.parametrize('damage', [
    lambda text: text[:len(text) // 2], lambda text: '', lambda text: '[]', lambda text: '7',
    lambda text: text.replace('Pillow', 'Another')])
def test_an_index_that_cannot_be_used_is_made_again(damage, tmp_path, headers):
    write(tmp_path, 'a.png', 'b.png')
    index, paths = tmp_path / 'index', data_utils.list_images(str(tmp_path))
    wanted = data_set.short_sides(paths, str(index))
    whole = index.read_text()
    index.write_text(damage(whole))
    assert data_set.short_sides(paths, str(index)) == wanted and index.read_text() == whole and len(headers) == 4


def test_eight_hundred_photographs_are_found_in_seconds_and_without_decoding_them(tmp_path, headers):
    photographs = tmp_path / 'data'
    write(photographs, '0.png', size=(2040, 1356))
    for number in range(1, 800):
        os.link(str(photographs / '0.png'), str(photographs / ('%d.png' % number)))
    seconds = []
    for _ in range(2):
        started = time.time()
        paths, *_ = data_set.find_pictures([[str(photographs), 1]], 96, print, str(tmp_path / 'index'))
        seconds.append(time.time() - started)
        assert len(paths) == 799 and len(headers) == 800
    assert max(seconds) < 10
