"""Pictures: found, read as a viewer shows them, cropped and reduced."""
import collections
import importlib.util
import json
import os

import cv2
import numpy as np
import PIL
from PIL import Image, ImageOps

from cli.command import UsageError
from storage.files import replace_file, replace_text

# Not .gif: 256 dithered colours are nothing to learn from or to measure by.
EXTENSIONS = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp')

# The colour photographs in scikit-image's wheel; the two motorcycles are one scene from two places.
EMBEDDED = ('chelsea.png', 'coffee.png', 'hubble_deep_field.jpg', 'ihc.png', 'motorcycle_left.png',
            'motorcycle_right.png', 'retina.jpg', 'rocket.jpg')
EMBEDDED_SAMPLE = 'astronaut.png'

SAMPLE_SIZE = 384


class UnreadableImage(Exception):
    """A picture that cannot be read; the message names the file and the reason."""


# What PIL raises at a damaged, foreign or enormous file.
UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError)


# Pixels

def standardized(images):
    """uint8 0..255 -> float32 -1..1."""
    return np.asarray(images, np.float32) / 127.5 - 1


def to_uint8(images):
    """-1..1 -> uint8 0..255, clipped and rounded: the inverse of `standardized`."""
    return np.clip(np.round((np.asarray(images) + 1) * 127.5), 0, 255).astype(np.uint8)


def random_crop(image, size, rng):
    """A size x size piece of image [H, W, 3], anywhere in it with equal chance."""
    top = rng.randint(image.shape[0] - size + 1)
    left = rng.randint(image.shape[1] - size + 1)
    return image[top:top + size, left:left + size]


def random_turn(image, rng):
    """One of the eight flips and quarter turns of a square image [H, W, 3]."""
    image = np.rot90(image, rng.randint(4))
    return image[:, ::-1] if rng.randint(2) else image


def im_resize(image, width, height):
    """The article's resize: OpenCV's bilinear, without anti-aliasing. uint8 [H, W, 3] -> uint8 [height, width, 3]."""
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def bicubic_resize(image, width, height):
    """Bicubic with anti-aliasing, as MATLAB's imresize, the degradation of the paper and of every benchmark."""
    return np.asarray(Image.fromarray(image).resize((width, height), Image.BICUBIC))


LR_RESIZES = {'bicubic': bicubic_resize, 'article': im_resize}


# Files

def list_images(folder):
    """The pictures in a folder and its sub-folders, in the order of their paths. Raises UsageError."""
    if not os.path.isdir(folder):
        raise UsageError('%s is not a folder' % folder)
    paths = [os.path.join(root, name) for root, _, names in os.walk(folder) for name in names
             if name.lower().endswith(EXTENSIONS) and not name.startswith('.')]
    return sorted(paths)


def read_image(path):
    """A picture as a viewer shows it: uint8 RGB [H, W, 3], turned upright, transparent over white.

    Raises UnreadableImage.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(as_rgb(ImageOps.exif_transpose(image)))
    except UNREADABLE as error:
        raise UnreadableImage('%s: %s' % (path, reason(error, path)))


def short_side(path):
    """The smaller of a picture's width and height, from its header alone. Raises UnreadableImage."""
    try:
        with Image.open(path) as image:
            return min(image.size)
    except UNREADABLE as error:
        raise UnreadableImage('%s: %s' % (path, reason(error, path)))


def write_jpeg(path, image):
    """Write image uint8 RGB [H, W, 3] at quality 95 without chroma subsampling. Raises OSError."""
    replace_file(path, lambda file: Image.fromarray(image).save(file, 'JPEG', quality=95, subsampling=0))


def reason(error, path):
    if os.path.isfile(path) and os.path.getsize(path) == 0:
        return 'the file is empty'
    if isinstance(error, Image.UnidentifiedImageError):
        return 'not a picture'
    return getattr(error, 'strerror', None) or error


def as_rgb(image):
    """A PIL image of any mode -> mode RGB."""
    if image.mode.startswith(('I', 'F')):
        return grey_of_many_bits(image).convert('RGB')
    if image.mode in ('LA', 'La', 'PA', 'RGBA', 'RGBa') or 'transparency' in image.info:
        image = image.convert('RGBA')
        return Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image).convert('RGB')
    return image.convert('RGB')


def grey_of_many_bits(image):
    """16-bit, 32-bit or floating-point grey -> mode L. PIL's own conversion cuts everything above 255."""
    values = np.asarray(image).astype(np.float64)
    if image.mode == 'F' and values.size and values.max() <= 1:
        full = 1
    else:
        full = 255 if values.size and values.max() <= 255 and image.mode == 'F' else 65535
    return Image.fromarray(np.clip(np.round(values * (255 / full)), 0, 255).astype(np.uint8))


def embedded(*names):
    """Paths of photographs in scikit-image's wheel. Raises UsageError."""
    package = importlib.util.find_spec('skimage')
    if package is None:
        raise UsageError('without --data the photographs of scikit-image are used, which is not installed: '
                         'give --data DIR, or run `make setup`')
    return [os.path.join(os.path.dirname(package.origin), 'data', name) for name in names]


# The training pictures

# What the index holds; one that holds anything else is made again.
INDEX = 'path: [size in bytes, ctime in ns, short side in pixels or why it cannot be used], Pillow %s' % PIL.__version__


def find_pictures(data, crop_size, warn, index=None):
    """The training pictures' paths and the one held out for samples, of the folders `data` or of the embedded ones.

    `data` is a list of [folder, weight]: a picture is listed as often as its folder's weight says. Those that
    cannot be read or are smaller than the crop are counted and named by `warn`. The held-out picture is the
    first that holds a whole sample, else the one with the longest short side. `index` is a file that keeps what
    is known of the pictures for the next time. Raises UsageError where fewer than two remain.
    """
    if data is None:
        return embedded(*EMBEDDED), embedded(EMBEDDED_SAMPLE)[0]
    weights = collections.Counter()
    for folder, weight in data:
        weights.update(dict.fromkeys(list_images(os.path.abspath(folder)), weight))
    sides, left_out = short_sides(weights, index), []
    for path, side in list(sides.items()):
        if isinstance(side, str) or side < crop_size:
            left_out.append(side if isinstance(side, str) else
                            '%s: %d pixels at its short side, less than the crop' % (path, side))
            del sides[path]
    held_out = None
    for path in sorted(sides, key=lambda path: min(sides[path], SAMPLE_SIZE), reverse=True):
        try:
            read_image(path)
            held_out = path
            break
        except UnreadableImage as error:
            left_out.append(str(error))
            del sides[path]
    if left_out:
        warn('%d of %d pictures left out:\n  %s' % (
            len(left_out), len(left_out) + len(sides), '\n  '.join(left_out)))
    if len(sides) < 2:
        raise UsageError('--data %s: %d pictures of at least %d x %d pixels; training needs one, and one more is '
                         'held out for the samples' % (
                             ', '.join(folder for folder, _ in data), len(sides), crop_size, crop_size))
    return [path for path in sides if path != held_out for _ in range(weights[path])], held_out


def short_sides(paths, index=None):
    """{path: its short side in pixels, or the reason why it cannot be used}, by the headers alone.

    Those that have not changed since the file `index` was written are taken from it; it is written anew where
    anything has.
    """
    try:
        with open(index or os.devnull) as file:
            known = json.load(file)[INDEX]
    except (OSError, ValueError, LookupError, TypeError):
        known = {}
    entries = {}
    for path in paths:
        try:
            status = os.stat(path)
            entry = known.get(path, [])
            if entry[:2] != [status.st_size, status.st_ctime_ns]:
                entry = [status.st_size, status.st_ctime_ns, short_side(path)]
        except UnreadableImage as error:
            entry = [status.st_size, status.st_ctime_ns, str(error)]
        except OSError as error:
            entry = [None, None, '%s: %s' % (path, error.strerror)]
        entries[path] = entry
    if index and entries != known:
        replace_text(index, json.dumps({INDEX: entries}, indent=0))
    return {path: entry[2] for path, entry in entries.items()}


def sample_pair(path, lr_resize):
    """The middle of the held-out picture, at most 384 x 384: (lr uint8 [h, w, 3], hr uint8 [4h, 4w, 3])."""
    image = read_image(path)
    height, width = [min(size, SAMPLE_SIZE) // 4 * 4 for size in image.shape[:2]]
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    hr = image[top:top + height, left:left + width]
    return LR_RESIZES[lr_resize](hr, width // 4, height // 4), hr
