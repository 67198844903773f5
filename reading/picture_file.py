"""Read a picture file of any kind, for training, measuring and enlarging alike."""
import collections
import contextlib
import dataclasses
import functools
import io
import os
import struct
import warnings

import numpy as np
from PIL import Image, TiffImagePlugin

from cli.command import end_without_opencv, silent_stderr
from reading import blocks, tiff

try:
    import cv2
except ImportError as error:
    end_without_opencv(error)

# PIL's limit: a file of more pixels may be a decompression bomb.
MAX_PIXELS = 2 * Image.MAX_IMAGE_PIXELS
# The most bytes that deflate makes of one. PIL fills a PNG with black whose data ends too early, but as it should.
MOST_UNPACKED = 1032
# Rows of a PIL image that are converted at once.
STRIP = 256

# {EXIF orientation: function that turns the stored pixels upright}.
UPRIGHT = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}
# {number of channels: the colour spaces that a profile for them can have}. Some grey pictures have one for RGB.
PROFILES = {1: (b'GRAY', b'RGB '), 2: (b'GRAY', b'RGB '), 3: (b'RGB ',), 4: (b'RGB ',)}


class UnreadableImage(Exception):
    """A picture that cannot be read; the message names the file and the reason."""


class Bomb(UnreadableImage):
    """A picture with more pixels than are allowed."""


@dataclasses.dataclass
class Picture:
    """pixels: uint8 or uint16 [H, W, C], C: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha or CMYK.

    mode: the PIL mode in which the enlarged picture is written. about: a blocks.About. notes: what was not read, or not
    written. steps: of a JPEG, the 64 steps to which it rounds the brightness's amplitudes, from 1 on; else None.
    """

    pixels: np.ndarray
    mode: str
    about: blocks.About = dataclasses.field(default_factory=blocks.About)
    notes: list = dataclasses.field(default_factory=list)
    steps: list = None

    @property
    def has_alpha(self):
        return self.pixels.shape[2] in (2, 4) and self.mode != 'CMYK'


def read_picture(path, max_pixels=MAX_PIXELS, floats=False):
    """The first picture of a file, turned upright, as a Picture.

    floats: also take grey pictures in floating point, as 8 bits. Raises Bomb if it has more than max_pixels pixels, and
    UnreadableImage if it cannot be read.
    """
    with reading(path), open(path, 'rb') as file:
        stored = opened(file, floats, max_pixels)
        require_size(path, stored.size, max_pixels)
        pixels, mode = stored.decode()
        about, pages = stored.about, stored.pages()
        notes = ['the first of its %d pictures' % pages] if pages > 1 else []
        if stored.bits > 8:
            notes.append('with 8 of its %d bits' % stored.bits)
        if mode == 'CMYK' and pixels.dtype == np.uint16:
            pixels = in_8_bits(pixels)
            notes.append('with 8 of its 16 bits, in which CMYK cannot be written')
        if about.icc and about.icc[16:20] not in ((b'CMYK',) if mode == 'CMYK' else PROFILES[pixels.shape[2]]):
            about.icc = None
            notes.append('without its profile, which is not for the colours of its pixels')
        notes += ['without its %s, damaged or too long' % what for what in about.damaged]
        turn = UPRIGHT.get(about.orientation())
        if about.dpi and about.orientation() >= 5:
            # These turns swap width and height.
            about.dpi = about.dpi[::-1]
        return Picture(np.ascontiguousarray(turn(pixels) if turn else pixels), mode, about, notes, stored.steps)


def read_size(path):
    """The (width, height) of a file as it is stored, from its header alone if that will do. Raises UnreadableImage."""
    with reading(path), open(path, 'rb') as file:
        try:
            with pil_limit(MAX_PIXELS), Image.open(file) as image:
                size = image.size
        except Exception:
            # PIL also looks at what stands beside the pixels, and knows fewer kinds of TIFF.
            file.seek(0)
            size = opened(file).size
        require_size(path, size, MAX_PIXELS)
        return size


@contextlib.contextmanager
def reading(path):
    """A context that makes an UnreadableImage of what a reader raises, which is of almost any type, and silences it."""
    try:
        # require_size takes the place of PIL's limit.
        with pil_limit(float('inf')), warnings.catch_warnings(), silent_stderr():
            warnings.simplefilter('ignore')
            if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
                raise ValueError('not a file')
            yield
    except UnreadableImage:
        raise
    except Image.DecompressionBombError:
        raise Bomb('%s: it may be a decompression bomb' % path)
    except Exception as error:
        raise UnreadableImage('%s: %s' % (path, reason(error, path)))


@contextlib.contextmanager
def pil_limit(pixels):
    """A context in which PIL opens no picture of more pixels. It allows twice its own limit."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None if pixels == float('inf') else pixels // 2
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def reason(error, path=None):
    """One line on why a file could not be read."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if path and os.path.isfile(path) and os.path.getsize(path) == 0:
        return 'the file is empty'
    if isinstance(error, Image.UnidentifiedImageError):
        return 'not a picture'
    if isinstance(error, MemoryError):
        return 'not enough memory'
    words = ' '.join(str(error).split())
    if words[:1] == '-':
        # An error number of a decoder of PIL.
        return 'its pixels are damaged, or packed in a way that is not read'
    plain = isinstance(error, (OSError, ValueError, SyntaxError)) and words
    return words if plain else '%s (%s)' % (type(error).__name__, words)


def require_size(path, size, max_pixels):
    width, height = size
    if width * height > max_pixels:
        raise Bomb('%s: %d x %d pixels may be a decompression bomb' % (path, width, height))
    if not width or not height:
        raise ValueError('it has no pixels')


# The ways to read pixels: TIFF's samples, PNG's and PPM's 16 bits, and PIL

# A picture that is opened, but not read yet. size: (width, height); decode: a function -> (pixels [H, W, C], mode);
# pages: a function -> the number of pictures; bits: of its samples, if more than 8 and only 8 are read; about, steps:
# as in Picture.
Stored = collections.namedtuple('Stored', 'size decode pages about bits steps', defaults=(8, None))


def opened(file, floats=False, max_pixels=MAX_PIXELS):
    """An open file -> Stored. floats, max_pixels: as in read_picture."""
    divided = blocks.divide(file)
    if not divided:
        # Other formats, such as ICO, may have a picture inside that is larger than their header says.
        with pil_limit(max_pixels):
            image = Image.open(file)
        if image.format == 'PPM' and image.tile[0][0] == 'ppm' and image.tile[0][3][0] == 'RGB' and (
                image.tile[0][3][1] > 255):
            return Stored(image.size, lambda: decode_ppm(image, file), lambda: 1, about_image(image))
        bits = bits_of_jpeg_2000(file) if image.format == 'JPEG2000' and not image.mode.startswith('I') else 8
        return Stored(image.size, lambda: decode(image, floats, max_pixels=max_pixels), lambda: frames(image),
                      about_image(image), bits)
    data, about = divided
    if tiff.is_tiff(data):
        tags = tiff.Tags(data)
        tags.require_whole()
        if tiff.Samples.can_read(tags):
            samples = tiff.Samples(tags)
            return Stored(samples.size, samples.pixels, lambda: tags.pages, about)
        image = open_tiff(tags)
        # PIL gives 12 bits as the low ones of 16.
        scale = 65535 / 4095 if tags.get(tiff.BITS) == (12,) else 1
        return Stored(image.size, lambda: decode(image, floats, scale=scale), lambda: tags.pages, about)
    image = Image.open(io.BytesIO(data))
    decode_one = functools.partial(decode_png, image, data, about.key) if data.startswith(blocks.PNG) else (
        functools.partial(decode, image, floats))
    steps = getattr(image, 'quantization', {}).get(0)
    return Stored(image.size, decode_one, lambda: frames(image), about, steps=steps)


def open_tiff(tags):
    """The PIL image of a TIFF file's tags. Raises ValueError, which says what kind of TIFF it is."""
    try:
        if not set(tags.get(tiff.SAMPLE_FORMAT, 1)) <= {1, 3, 4}:
            raise ValueError('signed numbers')
        # PIL itself does not know how YCbCr is stored without compression; libtiff does.
        TiffImagePlugin.READ_LIBTIFF = tags.get(tiff.PHOTOMETRIC) == (6,)
        return Image.open(tags.file())
    except Exception:
        bits, kind, compression, sample_format = [' '.join(map(str, tags.get(tag, default))) for tag, default in (
            (tiff.BITS, 1), (tiff.PHOTOMETRIC, '-'), (tiff.COMPRESSION, 1), (tiff.SAMPLE_FORMAT, 1))]
        raise ValueError('a kind of TIFF that is not read (bits %s, photometric interpretation %s, compression %s, '
                         'sample format %s); convert it first' % (bits, kind, compression, sample_format))
    finally:
        TiffImagePlugin.READ_LIBTIFF = False


def decode(image, floats, scale=1, max_pixels=float('inf')):
    """Decode a PIL image -> (pixels, mode). scale: a factor for its samples, which then have 16 bits."""
    with pil_limit(max_pixels):
        image.load()
    if floats and image.mode == 'F':
        image = grey_of_floats(image)
    picture = from_image(image)
    if scale != 1:
        picture.pixels = np.round(picture.pixels * scale).astype(np.uint16)
    return picture.pixels, picture.mode


def decode_png(image, data, key):
    """Decode the PIL image of a PNG's bytes -> (pixels, mode). key: the content of its chunk tRNS, or None."""
    bits, colour_type = data[24:26]
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour_type]
    if image.width * image.height * channels * bits / 8 > MOST_UNPACKED * len(data):
        raise ValueError('image file is truncated')
    pixels, mode = decode_deep_png(image, data) if bits == 16 else decode(image, False)
    return with_key(pixels, key, bits) if key else (pixels, mode)


def decode_deep_png(image, data):
    """Decode a PNG of 16 bits, of which PIL keeps eight -> (pixels, mode). Raises ValueError."""
    # OpenCV fills a picture that is cut off with black; PIL notices that.
    image.load()
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError('OpenCV does not read its 16-bit pixels')
    pixels = pixels.reshape(pixels.shape[:2] + (-1,))
    # OpenCV returns BGR, and grey with alpha as four channels.
    channels, mode = {0: ([0], 'I;16'), 2: ([2, 1, 0], 'RGB'), 4: ([0, -1], 'LA'), 6: ([2, 1, 0, 3], 'RGBA')}[data[25]]
    return pixels[:, :, channels], mode


def decode_ppm(image, file):
    """Decode a binary PPM of more than 8 bits, of which PIL keeps eight -> (pixels, mode). Raises ValueError."""
    (_, _, offset, (_, white)), = image.tile
    file.seek(offset)
    pixels = np.frombuffer(file.read(2 * 3 * image.width * image.height), '>u2').reshape(image.height, image.width, 3)
    return np.round(pixels * (65535 / white)).astype(np.uint16), 'RGB'


def bits_of_jpeg_2000(file):
    """The bits of the first component of a JPEG 2000 file, from its marker SIZ (ISO 15444-1, annex A.5.1)."""
    file.seek(0)
    head = file.read(2 ** 16)
    start = head.find(b'\xff\x4f\xff\x51')
    file.seek(0)
    return (head[start + 42] & 127) + 1 if 0 <= start < len(head) - 42 else 8


def with_key(pixels, key, bits):
    """Pixels [H, W, 1 or 3] with the content of a PNG's tRNS, the colour that is transparent -> (pixels, mode)."""
    white, most = np.iinfo(pixels.dtype).max, 2 ** bits - 1
    colour = [(value & most) * white // most for value in struct.unpack('>%dH' % pixels.shape[2], key)]
    alpha = np.where((pixels == colour).all(axis=2), 0, white).astype(pixels.dtype)
    return np.dstack([pixels, alpha]), 'LA' if len(colour) == 1 else 'RGBA'


def frames(image):
    if image.format == 'PSD':
        # PIL counts its layers, and reads what they make together.
        return 1
    try:
        return getattr(image, 'n_frames', 1)
    except Exception:
        # PIL reads an animation that is damaged further on up to there.
        return 1


def about_image(image):
    """What PIL knows about an image of another format, as blocks.About."""
    about = blocks.About()
    if image.info.get('icc_profile'):
        about.take('profile', about.take_icc, image.info['icc_profile'])
    if image.info.get('dpi'):
        about.take('resolution', about.take_dpi, image.info['dpi'])
    return about


# Pixels

def from_image(image):
    """A PIL image as a Picture. Raises ValueError if its pixels have more than 16 bits for each colour."""
    mode, info = image.mode, image.info
    low, high = image.getextrema() if mode == 'I' else (0, 0)
    if mode == 'F' or low < 0 or high > 65535:
        raise ValueError('its pixels have more than 16 bits; convert it first')
    has_transparency = mode == 'PA' or 'transparency' in info
    stored = mode
    if mode in ('P', 'PA'):
        mode, stored = 'P', 'RGBA' if has_transparency else 'RGB'
    elif mode == '1':
        stored = 'L'
    elif mode in ('L', 'RGB') and has_transparency:
        mode = stored = mode + 'A'
    elif mode not in ('L', 'LA', 'RGB', 'RGBA', 'CMYK') and not mode.startswith('I'):
        mode = stored = {'La': 'LA', 'RGBa': 'RGBA'}.get(mode, 'RGB')
    return Picture(pixels_of(image, stored), mode, about_image(image))


def grey_of_floats(image):
    """A PIL image of mode F -> mode L. White is 1 if no value is larger, else 255 if no value is larger, else 65535."""
    values = np.asarray(image)
    white = next((white for white in (1, 255) if values.max() <= white), 65535)
    return Image.fromarray(np.clip(np.round(values * (255 / white)), 0, 255).astype(np.uint8))


def pixels_of(image, mode):
    """The pixels [H, W, C] of a PIL image, converted to `mode`, in strips: PIL holds two more copies meanwhile."""
    pixels = None
    for top in range(0, image.height, STRIP):
        strip = image.crop((0, top, image.width, min(top + STRIP, image.height)))
        strip = np.asarray(strip if strip.mode == mode else strip.convert(mode))
        strip = strip.reshape(strip.shape[0], strip.shape[1], -1)
        if pixels is None:
            pixels = np.empty((image.height,) + strip.shape[1:], np.uint16 if mode.startswith('I') else np.uint8)
        pixels[top:top + len(strip)] = strip
    return pixels


def in_8_bits(pixels):
    """uint8 or uint16 -> uint8, rounded."""
    return pixels if pixels.dtype == np.uint8 else (pixels / 257 + 0.5).astype(np.uint8)


def flattened(pixels, picture, ground='white'):
    """pixels [H, W, C] of the kind of `picture` -> a PIL image CMYK, L or RGB, with transparent ones over `ground`."""
    pixels = in_8_bits(pixels)
    if not picture.has_alpha:
        return plain_image(pixels, picture.mode)
    image = Image.fromarray(pixels).convert('RGBA')
    image = Image.alpha_composite(Image.new('RGBA', image.size, ground), image)
    return image.convert('L' if pixels.shape[2] == 2 else 'RGB')


def plain_image(pixels, mode):
    """uint8 [H, W, C] of the kind of a Picture of this mode -> a PIL image: L, LA, RGB, RGBA or CMYK."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels, 'CMYK' if mode == 'CMYK' else None)


def to_rgb(pixels, picture, ground='white'):
    """The pixels of the kind of `picture` as uint8 RGB [H, W, 3], transparent ones over the colour `ground`."""
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return pixels
    return np.asarray(flattened(pixels, picture, ground).convert('RGB'))
