"""Pictures for training: find the files, read them as a viewer shows them, crop and reduce them."""
import importlib.util
import os

import numpy as np
from PIL import Image

from cli.command import UsageError
from reading.folders import EXTENSIONS, walk
from reading.picture_file import cv2, read_picture, to_rgb
from storage.files import replace_file

# The colour photographs in scikit-image's wheel. The two motorcycles are one scene, photographed from two places.
EMBEDDED = ('chelsea.png', 'coffee.png', 'hubble_deep_field.jpg', 'ihc.png', 'motorcycle_left.png',
            'motorcycle_right.png', 'retina.jpg', 'rocket.jpg')
EMBEDDED_SAMPLE = 'astronaut.png'

# How many times smaller each side of a low-resolution picture is than its original's.
SCALE = 4


# Pixels

def standardized(images):
    """uint8 0..255 -> float32 -1..1."""
    return np.asarray(images, np.float32) / 127.5 - 1


def to_uint8(images):
    """-1..1 -> uint8 0..255, clipped and rounded: the inverse of `standardized`."""
    return np.clip(np.round((np.asarray(images) + 1) * 127.5), 0, 255).astype(np.uint8)


def random_crop(image, size, rng):
    """A random piece [size, size, 3] of image [H, W, 3], each place equally likely."""
    top = rng.randint(image.shape[0] - size + 1)
    left = rng.randint(image.shape[1] - size + 1)
    return image[top:top + size, left:left + size]


def middle(height, width, side):
    """The rows and the columns, as slices, of the middle of a picture, at most side x side."""
    (top, height), (left, width) = [(max(0, (length - side) // 2), min(length, side)) for length in (height, width)]
    return slice(top, top + height), slice(left, left + width)


def random_turn(image, rng):
    """A random one of the eight flips and quarter turns of a square image [H, H, 3]."""
    image = np.rot90(image, rng.randint(4))
    return image[:, ::-1] if rng.randint(2) else image


def im_resize(image, width, height):
    """The article's resize: OpenCV's bilinear, without anti-aliasing. uint8 [H, W, 3] -> uint8 [height, width, 3]."""
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def bicubic_resize(image, width, height):
    """Bicubic with anti-aliasing, as MATLAB's imresize, which the paper and all benchmarks use.

    uint8 [H, W, 3] -> uint8 [height, width, 3].
    """
    return np.asarray(Image.fromarray(image).resize((width, height), Image.BICUBIC))


# Functions that reduce a crop to its low-resolution picture: {name for --lr-resize: function(image, width, height)}.
LR_RESIZES = {'bicubic': bicubic_resize, 'article': im_resize}


# Files

def list_images(folder):
    """The paths of the pictures in a folder and its sub-folders, sorted. Raises UsageError if it is not a folder."""
    if not os.path.isdir(folder):
        raise UsageError('%s is not a folder' % folder)
    return sorted(path for path in walk(folder) if path.lower().endswith(EXTENSIONS))


def read_image(path):
    """A picture as a viewer shows it: uint8 RGB [H, W, 3], turned upright, transparent pixels over white.

    Raises UnreadableImage.
    """
    picture = read_picture(path, floats=True)
    return to_rgb(picture.pixels, picture)


def write_jpeg(path, image):
    """Write image uint8 RGB [H, W, 3] at quality 95 without chroma subsampling. Raises OSError."""
    replace_file(path, lambda file: Image.fromarray(image).save(file, 'JPEG', quality=95, subsampling=0))


def embedded(*names):
    """The paths of photographs in scikit-image's wheel. Raises UsageError if scikit-image or one of them is missing."""
    package = importlib.util.find_spec('skimage')
    if package is None:
        raise UsageError('without --data the photographs of scikit-image are used, which is not installed: '
                         'give --data DIR, or run `make setup`')
    paths = [os.path.join(os.path.dirname(package.origin), 'data', name) for name in names]
    for path in paths:
        if not os.path.isfile(path):
            raise UsageError('%s, a photograph of scikit-image, is missing: install scikit-image again' % path)
    return paths
