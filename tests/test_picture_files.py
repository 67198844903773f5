"""Picture files as other programs write them: tifffile, cameras, and bytes made by hand."""
import io
import itertools
import os
import struct
import zlib

import numpy as np
import pytest
import tifffile
from conftest import photograph
from PIL import Image, ImageCms

import data_utils
from pictures import picture
from reading import picture_file

RGB = photograph(37, 53, 0)
RGB16 = (RGB.astype(np.uint16) * 257 - 5 * (RGB > 9)).astype(np.uint16)
GREY, GREY16 = RGB[:, :, 1].copy(), RGB16[:, :, 1].copy()
ALPHA = np.tile(np.array([0, 255, 77, 255], np.uint8), (37, 14))[:, :53]
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()


def read(path):
    return picture_file.read_picture(str(path))


def enlarged(path, tmp_path, ending='.png'):
    """The file that becomes of a picture, each pixel repeated -> (its path, the notes on it)."""
    given = read(path)
    pixels = given.pixels.repeat(4, 0).repeat(4, 1)
    result = str(tmp_path / ('enlarged' + ending))
    with open(result, 'wb') as file:
        picture.write_picture(file, [pixels], pixels.shape[1::-1], given, ending)
    return result, given.notes


# Bytes by hand

def chunk(name, content):
    return struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))


def png(rows, depth, colours, *chunks, size=(16, 16)):
    """A PNG of rows, each the bytes of one row without filter, with further chunks [bytes]."""
    pixels = zlib.compress(b''.join(b'\0' + row for row in rows))
    return b''.join([b'\x89PNG\r\n\x1a\n', chunk(b'IHDR', struct.pack('>2I5B', *size, depth, colours, 0, 0, 0)),
                     *chunks, chunk(b'IDAT', pixels), chunk(b'IEND', b'')])


def rgb_png(*chunks, pixels=RGB):
    return png([row.tobytes() for row in pixels], 8, 2, *chunks, size=pixels.shape[1::-1])


def segment(marker, content):
    return b'\xff' + bytes([marker]) + struct.pack('>H', len(content) + 2) + content


def jpeg(*segments, pixels=RGB):
    """A JPEG with further segments [bytes] behind its JFIF block."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, 'JPEG', quality=95, subsampling=0, dpi=(150, 150))
    data = file.getvalue()
    end = 4 + struct.unpack('>H', data[4:6])[0]
    return data[:end] + b''.join(segments) + data[end:]


def webp(*blocks, flags=0):
    """A WebP with further blocks [(name, content), ...]."""
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, 'WEBP', lossless=True)
    pixels = file.getvalue()[12:]
    extended = struct.pack('<4sI', b'VP8X', 10) + bytes([flags, 0, 0, 0]) + b''.join(
        struct.pack('<I', side - 1)[:3] for side in RGB.shape[1::-1])
    body = b'WEBP' + extended + pixels + b''.join(
        struct.pack('<4sI', name, len(content)) + content + bytes(len(content) % 2) for name, content in blocks)
    return b'RIFF' + struct.pack('<I', len(body)) + body


def exif(**tags):
    """EXIF as bytes: {tag, as t274: (type, its values' bytes)}; values of more than 4 bytes lie behind the tags."""
    entries, more = b'', b''
    for name, (kind, count, content) in sorted(tags.items(), key=lambda item: int(item[0][1:])):
        if len(content) > 4:
            more, content = more + content, struct.pack('<I', 8 + 2 + 12 * len(tags) + 4 + len(more))
        entries += struct.pack('<HHI', int(name[1:]), kind, count) + content.ljust(4, b'\0')
    return b'II*\0\x08\0\0\0' + struct.pack('<H', len(tags)) + entries + bytes(4) + more


TURNED = exif(t274=(3, 1, b'\x06\0'))


def tiff(pixels, **tags):
    """An uncompressed RGB TIFF of 8 bits with further tags, as for `exif`."""
    height, width = pixels.shape[:2]
    number = 9 + len(tags)
    data = exif(t256=(4, 1, struct.pack('<I', width)), t257=(4, 1, struct.pack('<I', height)),
                t258=(3, 3, struct.pack('<3H', 8, 8, 8)), t259=(3, 1, b'\1'), t262=(3, 1, b'\2'),
                t273=(4, 1, bytes(4)), t277=(3, 1, b'\3'), t278=(4, 1, struct.pack('<I', height)),
                t279=(4, 1, struct.pack('<I', pixels.size)), **tags)
    names = sorted([256, 257, 258, 259, 262, 273, 277, 278, 279] + [int(name[1:]) for name in tags])
    assert len(names) == number
    place = 10 + 12 * names.index(273) + 8
    return data[:place] + struct.pack('<I', len(data)) + data[place + 4:] + pixels.tobytes()


# TIFF

KINDS = [kind for kind in itertools.product(
    (np.uint8, np.uint16), ('minisblack', 'miniswhite', 'rgb', 'separated'), ('contig', 'separate'),
    (None, 'zlib', 'lzw'), '<>', (None, (16, 32)), (None, 'unassalpha', 'assocalpha', 'unspecified'))
    if not (kind[1].startswith('minis') and kind[2] == 'separate' and not kind[6])]


def lzw(data):
    """LZW as TIFF has it, of codes of 9 bits alone: the table is cleared before they would grow."""
    codes = []
    for start in range(0, len(data), 200):
        codes += [256, *data[start:start + 200]]
    bits = ''.join(format(code, '09b') for code in codes + [257])
    bits += '0' * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, 'big')


def write_tiff(path, pixels, photometric, planes, compression, order, tile, extra):
    """A TIFF of pixels [H, W, C] of a kind of KINDS, by tifffile, which needs another package for LZW."""
    options = dict(photometric=photometric, byteorder=order, tile=tile, metadata=None,
                   rowsperstrip=None if tile else 10, extrasamples=[extra] if extra else None,
                   planarconfig=planes if pixels.shape[2] > 1 else None)
    stored = np.moveaxis(pixels, 2, 0) if planes == 'separate' else pixels if pixels.shape[2] > 1 else pixels[:, :, 0]
    stored = np.ascontiguousarray(stored)
    tifffile.imwrite(str(path), stored, compression=None if compression == 'lzw' else compression, **options)
    if compression == 'lzw':
        with tifffile.TiffFile(str(path), mode='r+b') as file:
            page, offsets = file.pages[0], []
            parts = [lzw(data) for data, _ in file.filehandle.read_segments(page.dataoffsets, page.databytecounts)]
            for part in parts:
                offsets.append(file.filehandle.seek(0, os.SEEK_END))
                file.filehandle.write(part)
            kind = 'Tile' if tile else 'Strip'
            page.tags[kind + 'Offsets'].overwrite(offsets)
            page.tags[kind + 'ByteCounts'].overwrite([len(part) for part in parts])
            page.tags['Compression'].overwrite(5)


def upright_colours(pixels, photometric, extra):
    """What the samples of a TIFF mean: pixels of a Picture, in 0 to 1."""
    colours = {'minisblack': 1, 'miniswhite': 1, 'rgb': 3, 'separated': 4}[photometric]
    values = pixels / np.iinfo(pixels.dtype).max
    if extra in (None, 'unspecified') or colours == 4:
        values = values[:, :, :colours]
    if photometric == 'miniswhite':
        values[:, :, 0] = 1 - values[:, :, 0]
    if extra == 'assocalpha' and colours < 4:
        opaque = values[:, :, -1:] > 0
        values[:, :, :-1] = np.where(opaque, values[:, :, :-1] / np.where(opaque, values[:, :, -1:], 1), 0).clip(0, 1)
    return values


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_a_tiff_is_what_its_tags_say(dtype, tmp_path):
    """Photometric interpretation, depth, planes, compression, byte order, tiles and alpha; for training too."""
    rng = np.random.RandomState(0)
    path = str(tmp_path / 'a.tif')
    for kind in KINDS:
        photometric, planes, compression, order, tile, extra = kind[1:]
        if kind[0] != dtype:
            continue
        channels = {'minis': 1, 'rgb': 3, 'separ': 4}[photometric[:5]] + bool(extra)
        pixels = rng.randint(0, np.iinfo(dtype).max + 1, (37, 53, channels)).astype(dtype)
        if extra == 'assocalpha':
            # Grey from white is multiplied as it is meant, from black.
            pixels[:, :, :-1] = np.minimum(pixels[:, :, :-1], pixels[:, :, -1:])
            if photometric == 'miniswhite':
                pixels[:, :, 0] = ~pixels[:, :, 0]
        write_tiff(path, pixels, *kind[1:])
        got, wanted = read(path), upright_colours(pixels, photometric, extra)
        white = np.iinfo(got.pixels.dtype).max
        assert got.pixels.dtype == (dtype if photometric != 'separated' else np.uint8), kind
        assert got.pixels.shape == wanted.shape, kind
        assert np.abs(got.pixels / white - wanted).max() < 1.01 / white, kind
        if photometric == 'rgb' and not extra:
            assert np.abs(data_utils.read_image(path) - 255 * wanted).max() <= 0.51
        assert min(picture_file.read_size(path)) == 37


@pytest.mark.parametrize('predictor', [True, False])
def test_tiff_with_a_predictor_in_tiles_and_in_bigtiff(predictor, tmp_path):
    for number, tile in enumerate((None, (16, 32))):
        path = str(tmp_path / ('%d.tif' % number))
        tifffile.imwrite(path, RGB16, photometric='rgb', bigtiff=True, tile=tile, compression='zlib',
                         predictor=predictor, resolution=(300, 300), extratags=[(274, 'H', 1, 6, False)])
        assert np.array_equal(read(path).pixels, np.rot90(RGB16, -1))
        assert read(path).about.dpi == (300, 300) and not read(path).notes


@pytest.mark.parametrize('pixels, options', [
    (GREY.astype(np.int8), {}), (GREY16.astype(np.int16), {}), (RGB.astype(np.float32), {'photometric': 'rgb'}),
    (GREY.astype(np.uint32) * 2 ** 24, {}), (GREY16, {'photometric': 'cfa'}), (RGB16, {'photometric': 'cielab'}),
    (GREY16.astype(np.float16), {})])
def test_a_kind_of_tiff_that_is_not_read_is_refused(pixels, options, tmp_path):
    path = str(tmp_path / 'a.tif')
    tifffile.imwrite(path, pixels, **options)
    for function in (picture_file.read_picture, data_utils.read_image):
        with pytest.raises(picture_file.UnreadableImage, match='convert it first'):
            function(path)


def test_floating_point_is_for_training_only(tmp_path):
    path = str(tmp_path / 'a.tif')
    tifffile.imwrite(path, (GREY / 255).astype(np.float32))
    with pytest.raises(picture_file.UnreadableImage, match='more than 16 bits'):
        picture_file.read_picture(path)
    assert np.array_equal(data_utils.read_image(path), GREY[:, :, np.newaxis].repeat(3, 2))


def test_twelve_bits_have_the_white_of_sixteen(tmp_path):
    values = np.arange(4096).reshape(64, 64)
    left, right = values[:, ::2], values[:, 1::2]
    packed = np.stack([left >> 4, (left & 15) << 4 | right >> 8, right & 255], 2)
    path = str(tmp_path / 'a.tif')
    data = bytearray(tiff(packed.astype(np.uint8)))
    for tag, value in ((256, 64), (277, 1), (262, 1)):
        place = next(10 + 12 * n for n in range(9) if struct.unpack_from('<H', data, 10 + 12 * n)[0] == tag)
        struct.pack_into('<I', data, place + 8, value)
    struct.pack_into('<IHH', data, 10 + 12 * 2 + 4, 1, 12, 0)
    (tmp_path / 'a.tif').write_bytes(bytes(data))
    got = read(path).pixels[:, :, 0]
    assert np.abs(got - values * (65535 / 4095)).max() <= 0.5


def test_the_first_of_several_pages(tmp_path):
    """Of 8 and 16 bits, compressed or not."""
    for number, (pixels, compression) in enumerate(itertools.product((RGB, RGB16), (None, 'zlib'))):
        path = str(tmp_path / ('%d.tif' % number))
        tifffile.imwrite(path, np.stack([pixels, ~pixels]), photometric='rgb', compression=compression)
        got = read(path)
        assert np.array_equal(got.pixels, pixels) and got.notes == ['the first of its 2 pictures']


def test_lab_becomes_rgb_without_its_profile(tmp_path):
    srgb, lab = [ImageCms.createProfile(name) for name in ('sRGB', 'LAB')]
    image = ImageCms.profileToProfile(Image.fromarray(RGB), srgb, lab, outputMode='LAB')
    image.save(str(tmp_path / 'a.tif'), icc_profile=ImageCms.ImageCmsProfile(lab).tobytes())
    got = read(tmp_path / 'a.tif')
    assert got.mode == 'RGB' and np.abs(got.pixels.astype(int) - RGB).mean() < 3
    assert got.about.icc is None and any('profile' in note for note in got.notes)


@pytest.mark.parametrize('kind, count, content', [(2, 2, b'6\0'), (1, 1, b'\x00'), (7, 2, b'6\0'), (3, 1, b'\x09\0')])
def test_an_orientation_that_is_none_turns_nothing(kind, count, content, tmp_path):
    """As letters, as bytes and beyond 8; beside the DPI, which some turns swap."""
    tag = exif(t274=(kind, count, content))
    (tmp_path / 'a.jpg').write_bytes(jpeg(segment(0xe1, b'Exif\0\0' + tag)))
    assert read(tmp_path / 'a.jpg').pixels.shape == RGB.shape


@pytest.mark.parametrize('orientation', range(1, 9))
def test_an_orientation_is_followed_once_in_every_format(orientation, tmp_path):
    """For 6, the stored left column is the upper row: 64 x 96 of 96 x 64."""
    stored = np.zeros((16, 24, 3), np.uint8)
    stored[:, :12] = (220, 30, 30)
    stored[:8, 12:] = (30, 30, 220)
    upright = {1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1], 5: stored.swapaxes(0, 1),
               6: stored[::-1].swapaxes(0, 1), 7: stored[::-1, ::-1].swapaxes(0, 1),
               8: stored.swapaxes(0, 1)[::-1]}[orientation]
    tag = exif(t274=(3, 1, bytes([orientation, 0])))
    files = {'a.png': rgb_png(chunk(b'eXIf', tag), pixels=stored),
             'a.jpg': jpeg(segment(0xe1, b'Exif\0\0' + tag), pixels=stored),
             'a.tif': tiff(stored, t274=(3, 1, bytes([orientation, 0])))}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    for name, pixels in (('deep.tif', stored.astype(np.uint16) * 257), ('zip.tif', stored)):
        tifffile.imwrite(str(tmp_path / name), pixels, photometric='rgb', compression='zlib',
                         extratags=[(274, 'H', 1, orientation, False)])
    for name in [*files, 'deep.tif', 'zip.tif']:
        got = read(tmp_path / name).pixels
        for seen in (got / (257 if got.dtype == np.uint16 else 1), data_utils.read_image(str(tmp_path / name))):
            assert seen.shape == upright.shape, name
            assert np.abs(seen.astype(int) - upright).max() < (60 if name == 'a.jpg' else 1), name


@pytest.mark.parametrize('resolution', [(0, 0), (1, 0), (4294967295, 1), None, (0, 1)])
def test_a_resolution_that_is_none_is_left_out(resolution, tmp_path):
    tags = {} if resolution is None else {
        't282': (5, 1, struct.pack('<II', *resolution)), 't283': (5, 1, struct.pack('<II', *resolution)),
        't296': (3, 1, b'\2')}
    (tmp_path / 'a.tif').write_bytes(tiff(RGB, **tags))
    (tmp_path / 'b.jpg').write_bytes(jpeg(segment(0xe1, b'Exif\0\0' + exif(**tags)))[:-2].replace(
        b'\1\1\1\0\x96\0\x96', b'\1\1\0\0\1\0\1', 1) + b'\xff\xd9')
    for name in ('a.tif', 'b.jpg'):
        for ending in ('.png', '.jpg'):
            result, notes = enlarged(tmp_path / name, tmp_path, ending)
            assert not notes and 'dpi' not in Image.open(result).info, (name, ending)
            with open(result, 'rb') as file:
                assert b'pHYs' not in file.read()


def test_a_resolution_is_kept_from_every_format(tmp_path):
    centimetres = {'t282': (5, 1, struct.pack('<II', 100, 1)), 't283': (5, 1, struct.pack('<II', 100, 1)),
                   't296': (3, 1, b'\3')}
    files = {'a.jpg': jpeg(), 'b.png': rgb_png(chunk(b'pHYs', struct.pack('>2IB', 5906, 5906, 1))),
             'c.tif': tiff(RGB, **centimetres), 'd.png': rgb_png(chunk(b'eXIf', exif(**centimetres)))}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        result, _ = enlarged(tmp_path / name, tmp_path)
        assert round(Image.open(result).info['dpi'][0]) == (150 if name < 'c' else 254), name


# Transparency

@pytest.mark.parametrize('depth, key, row, clear', [
    (1, 1, b'\xf0\xf0', 0), (2, 3, b'\xff\xff\x55\x55', 0), (4, 15, b'\xff' * 4 + b'\x55' * 4, 0),
    (8, 77, b'\x4d' * 8 + b'\x55' * 8, 0), (16, 0x1234, b'\x12\x34' * 8 + b'\x12\x35' * 8, 0),
    # Only the bits of the depth count.
    (4, 0x105, b'\x77' * 4 + b'\x55' * 4, 8)])
def test_transparency_by_a_grey_key_at_every_depth(depth, key, row, clear, tmp_path):
    (tmp_path / 'a.png').write_bytes(png([row] * 16, depth, 0, chunk(b'tRNS', struct.pack('>H', key))))
    got = read(tmp_path / 'a.png')
    white = np.iinfo(got.pixels.dtype).max
    alpha = np.full((16, 16), white)
    alpha[:, clear:clear + 8] = 0
    if depth == 1:
        alpha = np.tile([0] * 4 + [white] * 4, (16, 2))
    assert got.mode == 'LA' and np.array_equal(got.pixels[:, :, 1], alpha)
    seen = data_utils.read_image(str(tmp_path / 'a.png'))
    assert (seen[alpha == 0] == 255).all() and (seen[alpha > 0] < 255).all()
    result, _ = enlarged(tmp_path / 'a.png', tmp_path)
    with open(result, 'rb') as file:
        # The depth and the colour type of the result: grey and alpha.
        assert file.read()[24:26] == bytes([16 if depth == 16 else 8, 4])


@pytest.mark.parametrize('dtype', ['>u1', '>u2'])
def test_transparency_by_a_colour(dtype, tmp_path):
    pixels = np.zeros((16, 16, 3), dtype)
    pixels[:, :8] = (7, 8, 9)
    pixels[:, 8:] = (7, 8, 10)
    (tmp_path / 'a.png').write_bytes(png([row.tobytes() for row in pixels], 8 * pixels.itemsize, 2, chunk(
        b'tRNS', struct.pack('>3H', 7, 8, 9))))
    got = read(tmp_path / 'a.png')
    assert got.mode == 'RGBA' and (got.pixels[:, :8, 3] == 0).all() and (got.pixels[0, 8] == (
        7, 8, 10, np.iinfo(dtype).max)).all()


def test_grey_and_alpha_of_16_bits_stays_so(tmp_path):
    pixels = np.dstack([GREY16, ALPHA.astype(np.uint16) * 257])
    (tmp_path / 'a.png').write_bytes(png([row.astype('>u2').tobytes() for row in pixels], 16, 4, size=(53, 37)))
    got = read(tmp_path / 'a.png')
    assert got.mode == 'LA' and np.array_equal(got.pixels, pixels)


@pytest.mark.parametrize('levels', [(0, 255), (0, 77, 255), (0, 250, 255), range(256)])
def test_opaque_stays_opaque_in_a_palette_with_alpha(levels, tmp_path):
    alpha = np.array([levels[number * len(levels) // 53] for number in range(53)], np.uint8)
    pixels = np.dstack([RGB, np.tile(alpha, (37, 1))])
    with open(str(tmp_path / 'a.png'), 'wb') as file:
        picture.write_picture(file, [pixels], (53, 37), picture_file.Picture(pixels, 'P'), '.png')
    image = Image.open(str(tmp_path / 'a.png'))
    got = np.asarray(image.convert('RGBA')).astype(int)
    assert image.mode == 'P'
    for level in (0, 255):
        assert ((got[:, :, 3] == level) == (pixels[:, :, 3] == level)).all()
    seen = pixels[:, :, 3] > 0
    assert np.abs(got - pixels)[seen].mean() < 8


@pytest.mark.parametrize('mode', ['RGB', 'RGBA'])
def test_colours_of_areas_stay_exact_in_a_palette(mode):
    """PIL's own palette of all colours moves them."""
    rng = np.random.RandomState(0)
    patches = rng.randint(0, 256, (9, 12, len(mode))).astype(np.uint8)
    pixels = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])[:36, :48, :len(mode)].copy()
    pixels[:, 24:] = patches.repeat(4, 0).repeat(4, 1)[:, 24:]
    image = picture.to_image(pixels, 'P')
    got = np.asarray(image.convert(mode))
    assert image.mode == 'P' and len(image.getcolors()) <= 256
    assert np.array_equal(got[:, 24:], pixels[:, 24:])
    assert np.abs(got[:, :24].astype(int) - pixels[:, :24]).mean() < 8


def test_the_layers_of_a_psd_are_not_called_pictures(tmp_path):
    header = b'8BPS' + struct.pack('>H6xHIIHH', 1, 3, 8, 8, 8, 3) + bytes(8)
    layer = struct.pack('>4iH', 0, 0, 1, 1, 3) + b''.join(struct.pack('>hI', one, 3) for one in range(3)) + (
        b'8BIMnorm' + b'\xff\0\0\0' + struct.pack('>I', 12) + bytes(12))
    layers = struct.pack('>h', 2) + 2 * layer + 6 * (bytes(2) + b'\5')
    block = struct.pack('>I', len(layers)) + layers + bytes(4)
    (tmp_path / 'a.psd').write_bytes(header + struct.pack('>I', len(block)) + block + bytes(2) + bytes(range(192)))
    assert Image.open(str(tmp_path / 'a.psd')).n_frames == 2
    got = read(tmp_path / 'a.psd')
    assert got.pixels[0, 1].tolist() == [1, 65, 129] and not got.notes


@pytest.mark.parametrize('tag', ['t256', 't257', 't278'])
def test_a_tiff_whose_size_is_damaged_is_said_to_be(tag, tmp_path):
    data = tiff(RGB)
    place = data.index(struct.pack('<H', int(tag[1:])), 8) + 8
    (tmp_path / 'a.tif').write_bytes(data[:place] + bytes(4) + data[place + 4:])
    with pytest.raises(picture_file.UnreadableImage, match='a.tif: a TIFF whose size is damaged'):
        read(tmp_path / 'a.tif')


# What stands beside the pixels

BROKEN = {
    'exif.jpg': lambda: jpeg(segment(0xe1, b'Exif\0\0Exif')),
    'twice.jpg': lambda: jpeg(segment(0xe1, b'Exif\0\0Exif\0\0' + TURNED)),
    'profile.jpg': lambda: jpeg(segment(0xe2, b'ICC_PROFILE\0\1\1' + b'no profile')),
    'short.jpg': lambda: jpeg(segment(0xe1, b'Exif\0\0'), segment(0xe2, b'ICC_PROFILE\0'), segment(0xe2, b'MPF\0II'),
                              segment(0xed, b'Photoshop 3.0\0008BIM\4'), segment(0xe0, b'JFIF\0\1')),
    'exif.png': lambda: rgb_png(chunk(b'eXIf', b'no EXIF')),
    'profile.png': lambda: rgb_png(chunk(b'iCCP', b'name\0\0no zlib')),
    'bomb.png': lambda: rgb_png(chunk(b'iCCP', b'name\0\0' + zlib.compress(bytes(2 ** 25)))),
    'text.png': lambda: rgb_png(chunk(b'iTXt', b'workflow\0\1\0\0\0' + zlib.compress(b'abcdefghij' * 150000))),
    'texts.png': lambda: rgb_png(*[chunk(b'zTXt', b'a\0\0' + zlib.compress(bytes(2 ** 20)))] * 70),
    'method.png': lambda: rgb_png(chunk(b'zTXt', b'a\0\xff' + zlib.compress(b'text'))),
    'checksum.png': lambda: rgb_png(chunk(b'gAMA', struct.pack('>I', 45455))[:-1] + b'!'),
    'colours.png': lambda: rgb_png(chunk(b'gAMA', b'1'), chunk(b'cHRM', b''), chunk(b'pHYs', b'')),
    'key.png': lambda: rgb_png(chunk(b'tRNS', b'1')),
    'exif.webp': lambda: webp((b'EXIF', b'no EXIF'), flags=8),
    'profile.webp': lambda: webp((b'ICCP', b'no profile'), flags=32),
    'exif.tif': lambda: tiff(RGB, t34665=(4, 1, struct.pack('<I', 2 ** 31))),
    'profile.tif': lambda: tiff(RGB, t34675=(7, 5, b'wrong')),
}


@pytest.mark.parametrize('name', BROKEN)
def test_a_damaged_block_costs_neither_the_picture_nor_the_others(name, tmp_path, capfd):
    (tmp_path / name).write_bytes(BROKEN[name]())
    result, notes = enlarged(tmp_path / name, tmp_path)
    got = read(tmp_path / name)
    pixels = np.rot90(RGB, -1) if name == 'twice.jpg' else RGB
    assert np.abs(got.pixels.astype(int) - pixels).mean() < (3 if name.endswith('jpg') else 0.1)
    assert np.array_equal(np.asarray(Image.open(result)), got.pixels.repeat(4, 0).repeat(4, 1))
    if name not in ('twice.jpg', 'exif.tif'):
        assert notes and all(note.startswith('without') for note in notes)
    assert data_utils.read_image(str(tmp_path / name)).shape == pixels.shape
    assert min(picture_file.read_size(str(tmp_path / name))) == 37
    if name.endswith('.jpg'):
        assert got.about.dpi == (150, 150)
    assert capfd.readouterr() == ('', '')


def test_a_profile_that_pillow_would_not_read_back_is_left_out_of_png(tmp_path):
    profile = PROFILE[:36] + b'acsp' + PROFILE[40:] + np.random.RandomState(0).bytes(1200000)
    parts = [profile[start:start + 60000] for start in range(0, len(profile), 60000)]
    (tmp_path / 'a.jpg').write_bytes(jpeg(*[segment(0xe2, b'ICC_PROFILE\0' + bytes([number, len(parts)]) + part)
                                            for number, part in enumerate(parts, start=1)]))
    result, notes = enlarged(tmp_path / 'a.jpg', tmp_path)
    Image.open(result).load()
    assert any('profile' in note for note in notes)
    assert picture_file.read_picture(result).pixels.shape == (148, 212, 3)
    result, notes = enlarged(tmp_path / 'a.jpg', tmp_path, '.jpg')
    assert Image.open(result).info['icc_profile'] == profile and not notes


def test_exif_that_is_too_long_for_jpeg_is_left_out_of_it(tmp_path):
    long = exif(t270=(2, 70000, b'x' * 69999 + b'\0'))
    (tmp_path / 'a.png').write_bytes(rgb_png(chunk(b'eXIf', long)))
    result, notes = enlarged(tmp_path / 'a.png', tmp_path, '.jpg')
    assert any('EXIF' in note for note in notes) and not Image.open(result).getexif()
    result, notes = enlarged(tmp_path / 'a.png', tmp_path)
    assert not notes and len(Image.open(result).getexif()[0x010e]) > 60000


def test_exif_tells_the_size_of_the_enlarged_picture(tmp_path):
    directory = exif(t40962=(4, 1, struct.pack('<I', 53)), t40963=(3, 1, struct.pack('<H', 37)))[8:]
    block = exif(t274=(3, 1, b'\6\0'), t34665=(4, 1, struct.pack('<I', 8 + 2 + 24 + 4))) + directory
    (tmp_path / 'a.jpg').write_bytes(jpeg(segment(0xe1, b'Exif\0\0' + block)))
    for ending in ('.png', '.jpg'):
        result, notes = enlarged(tmp_path / 'a.jpg', tmp_path, ending)
        image = Image.open(result)
        # Turned upright, so width and height have changed places.
        assert image.size == (148, 212) and not notes
        tags = image.getexif().get_ifd(0x8769)
        assert (tags[0xa002], tags[0xa003]) == image.size and 0x0112 not in image.getexif()


@pytest.mark.parametrize('ending', ['.tif', '.jpg', '.png'])
def test_exif_keeps_its_directories_and_the_bytes_of_its_texts(ending, tmp_path):
    """Pillow takes no directories for a compressed TIFF, and writes texts as ASCII."""
    artist, owner = '张三'.encode(), 'José'.encode()
    directory = exif(t42032=(2, len(owner) + 1, owner + b'\0'))[8:]
    start = 8 + 2 + 2 * 12 + 4 + len(artist) + 1
    # The offsets of the directory's texts count from the start of the block.
    directory = directory[:10] + struct.pack('<I', start + 2 + 12 + 4) + directory[14:]
    block = exif(t315=(2, len(artist) + 1, artist + b'\0'), t34665=(4, 1, struct.pack('<I', start))) + directory
    image = Image.fromarray(RGB).convert('CMYK' if ending == '.tif' else 'RGB')
    image.save(str(tmp_path / 'a.jpg'), exif=b'Exif\0\0' + block)
    result, notes = enlarged(tmp_path / 'a.jpg', tmp_path, ending)
    written = Image.open(result)
    assert not notes and written.size == (212, 148) and written.mode == image.mode
    assert written.getexif()[315].encode('latin-1') == artist
    assert written.getexif().get_ifd(0x8769)[42032].encode('latin-1') == owner


def test_tiff_is_compressed_where_it_can_be(tmp_path):
    Image.fromarray(RGB).convert('CMYK').save(str(tmp_path / 'a.jpg'))
    result, _ = enlarged(tmp_path / 'a.jpg', tmp_path, '.tif')
    assert Image.open(result).info['compression'] == 'tiff_lzw'


XMP = (b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" tiff:ImageWidth="53" dc:rights="me">'
       b'<exif:PixelXDimension>53</exif:PixelXDimension></rdf:Description></x:xmpmeta>')


def test_colours_and_texts_of_a_png_are_kept_as_they_are(tmp_path):
    kept = [(b'gAMA', struct.pack('>I', 100000)), (b'cHRM', struct.pack('>8I', *range(1, 9))), (b'sRGB', b'\0'),
            (b'cICP', b'\x09\x10\0\1'),
            (b'tEXt', b'parameters\0a cat, steps: 20'), (b'zTXt', b'a\0\0' + zlib.compress(b'text')),
            (b'iTXt', 'prompt\0\0\0\0\0猫'.encode())]
    data = rgb_png(*[chunk(*one) for one in kept])
    (tmp_path / 'a.png').write_bytes(data)
    palette = io.BytesIO()
    Image.fromarray(RGB).quantize(8).save(palette, 'PNG')
    palette = palette.getvalue()
    (tmp_path / 'p.png').write_bytes(palette[:33] + b''.join(chunk(*one) for one in kept) + palette[33:])
    for name in ('a.png', 'p.png'):
        result, notes = enlarged(tmp_path / name, tmp_path)
        with open(result, 'rb') as file:
            written = file.read()
        assert not notes
        for one in kept:
            assert chunk(*one) in written, one[0]
        assert Image.open(result).info['gamma'] == 1.0
    _, notes = enlarged(tmp_path / 'a.png', tmp_path, '.jpg')
    assert not notes
    (tmp_path / 'linear.png').write_bytes(rgb_png(chunk(*kept[0])))
    _, notes = enlarged(tmp_path / 'linear.png', tmp_path, '.jpg')
    assert notes and 'gamma' in notes[0]


def test_xmp_is_kept_and_speaks_of_the_enlarged_picture(tmp_path):
    (tmp_path / 'a.png').write_bytes(rgb_png(chunk(b'iTXt', b'XML:com.adobe.xmp\0\0\0\0\0' + XMP)))
    (tmp_path / 'b.jpg').write_bytes(jpeg(segment(0xe1, b'http://ns.adobe.com/xap/1.0/\0' + XMP)))
    (tmp_path / 'c.webp').write_bytes(webp((b'XMP ', XMP), flags=4))
    (tmp_path / 'd.tif').write_bytes(tiff(RGB, t700=(1, len(XMP), XMP)))
    for name in ('a.png', 'b.jpg', 'c.webp', 'd.tif'):
        result, _ = enlarged(tmp_path / name, tmp_path)
        image = Image.open(result)
        assert image.size == (148, 212), name
        text = image.info['XML:com.adobe.xmp']
        assert 'Orientation="1"' in text and 'ImageWidth="148"' in text and '>148</exif:' in text and '"me"' in text


def test_jpeg_is_written_with_all_its_colours(tmp_path):
    (tmp_path / 'a.png').write_bytes(rgb_png())
    result, _ = enlarged(tmp_path / 'a.png', tmp_path, '.jpg')
    assert [component[1:3] for component in Image.open(result).layer] == [(1, 1)] * 3


def test_an_icon_is_a_picture(tmp_path):
    Image.fromarray(np.dstack([RGB[:32, :32], np.full((32, 32), 255, np.uint8)])).save(
        str(tmp_path / 'a.ico'), sizes=[(32, 32)])
    os.rename(str(tmp_path / 'a.ico'), str(tmp_path / 'a.png'))
    result, notes = enlarged(tmp_path / 'a.png', tmp_path)
    assert Image.open(result).size == (128, 128) and not notes


def test_sixteen_bits_of_ppm_and_jpeg_2000(tmp_path):
    """Of PPM all are read, whatever its white is; of JPEG 2000 eight, and a note says so."""
    (tmp_path / 'a.ppm').write_bytes(b'P6\n53 37\n1023\n' + (RGB16 >> 6).astype('>u2').tobytes())
    got = read(tmp_path / 'a.ppm').pixels
    assert got.dtype == np.uint16 and np.abs(got - (RGB16 >> 6) * (65535 / 1023)).max() <= 0.5
    (tmp_path / 'b.ppm').write_bytes(b'P6\n53 37\n100\n' + (RGB // 3).tobytes())
    got = read(tmp_path / 'b.ppm').pixels
    assert got.dtype == np.uint8 and np.abs(got - RGB // 3 * 2.55).max() <= 1
    Image.fromarray(RGB).save(str(tmp_path / 'a.jp2'))
    data = (tmp_path / 'a.jp2').read_bytes()
    assert not read(tmp_path / 'a.jp2').notes
    start = data.index(b'\xff\x4f\xff\x51') + 42
    deep = bytearray(data)
    for component in range(3):
        assert deep[start + 3 * component] == 7
        deep[start + 3 * component] = 15
    (tmp_path / 'b.jp2').write_bytes(bytes(deep))
    assert read(tmp_path / 'b.jp2').notes == ['with 8 of its 16 bits']


@pytest.mark.parametrize('rows, length', [(20, None), (37, 1000)])
def test_a_tiff_that_is_cut_off_is_refused(rows, length, tmp_path):
    """With fewer strips than its height asks for, and with less in them."""
    tifffile.imwrite(str(tmp_path / 'a.tif'), RGB, photometric='rgb', rowsperstrip=10)
    with tifffile.TiffFile(str(tmp_path / 'a.tif'), mode='r+b') as file:
        page = file.pages[0]
        page.tags['StripOffsets'].overwrite(page.dataoffsets[:-(-rows // 10)])
        end = page.dataoffsets[0] + length if length else None
    if end:
        os.truncate(str(tmp_path / 'a.tif'), end)
    with pytest.raises(picture_file.UnreadableImage, match='cut off|truncated|damaged'):
        read(tmp_path / 'a.tif')


@pytest.mark.parametrize('depth', [8, 16])
def test_a_png_of_more_rows_than_its_data_can_hold_is_refused(depth, tmp_path):
    (tmp_path / 'a.png').write_bytes(png([bytes(16 * depth // 8)] * 16, depth, 0, size=(16, 1000000)))
    with pytest.raises(picture_file.UnreadableImage, match='truncated'):
        read(tmp_path / 'a.png')
    flat = png([bytes(3000 * depth // 8)] * 1000, depth, 0, size=(3000, 1000))
    (tmp_path / 'flat.png').write_bytes(flat)
    assert len(flat) < 10000 and not read(tmp_path / 'flat.png').pixels.any()


def test_a_circle_of_tiff_directories_ends(tmp_path):
    data = tiff(RGB)
    place = 10 + 12 * 9
    (tmp_path / 'a.tif').write_bytes(data[:place] + struct.pack('<I', 8) + data[place + 4:])
    assert np.array_equal(read(tmp_path / 'a.tif').pixels, RGB)


def test_an_icon_with_a_bomb_inside_is_refused(tmp_path):
    bomb = png([bytes(8)], 8, 0, size=(60000, 60000))
    (tmp_path / 'a.png').write_bytes(struct.pack('<3H4B2H2I', 0, 1, 1, 32, 32, 0, 0, 1, 32, len(bomb), 22) + bomb)
    for function in (picture_file.read_picture, data_utils.read_image, picture_file.read_size):
        with pytest.raises(picture_file.Bomb):
            function(str(tmp_path / 'a.png'))


def test_a_pipe_named_like_a_picture_does_not_stop_the_reader(tmp_path):
    os.mkfifo(str(tmp_path / 'a.png'))
    with pytest.raises(picture_file.UnreadableImage, match='not a file'):
        read(tmp_path / 'a.png')
