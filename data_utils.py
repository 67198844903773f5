"""Pictures: found, read as a viewer shows them, cropped, reduced and fed to the programs."""
import collections
import concurrent.futures
import functools
import importlib.util
import os
import threading

import cv2
import numpy as np
from PIL import Image, ImageOps

from command import UsageError

EXTENSIONS = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp')

# The colour photographs in scikit-image's wheel; the two motorcycles are one scene from two places.
EMBEDDED = ('chelsea.png', 'coffee.png', 'hubble_deep_field.jpg', 'ihc.png', 'motorcycle_left.png',
            'motorcycle_right.png', 'retina.jpg', 'rocket.jpg')
EMBEDDED_SAMPLE = 'astronaut.png'

SAMPLE_SIZE = 384
READERS = 2
LOOK_AHEAD = 3


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
    Image.fromarray(image).save(path + '.new', 'JPEG', quality=95, subsampling=0)
    os.replace(path + '.new', path)


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

class Pictures:
    """Training pictures, decoded when needed; the last used ones stay in memory, `cache_mb` megabytes at most.

    A picture that turns out to be unreadable in mid-run is named once by `warn`, and the next one stands in.
    """

    def __init__(self, paths, cache_mb, warn):
        self.paths, self.cache_bytes, self.warn = paths, cache_mb * 2 ** 20, warn
        self.cache, self.cached_bytes = collections.OrderedDict(), 0
        self.unreadable, self.lock = set(), threading.Lock()

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        with self.lock:
            if index in self.cache:
                self.cache.move_to_end(index)
                return self.cache[index]
        try:
            image = read_image(self.paths[index])
        except UnreadableImage as error:
            return self.stand_in(index, error)
        with self.lock:
            if index not in self.cache:
                self.cache[index] = image
                self.cached_bytes += image.nbytes
            while self.cached_bytes > self.cache_bytes:
                self.cached_bytes -= self.cache.popitem(last=False)[1].nbytes
        return image

    def stand_in(self, index, error):
        with self.lock:
            if index not in self.unreadable:
                self.unreadable.add(index)
                self.warn('left out: %s' % error)
            if len(self.unreadable) == len(self.paths):
                raise error
        return self[(index + 1) % len(self)]


def find_pictures(data, crop_size, warn):
    """The training pictures' paths and the one held out for samples, of the folder `data` or of the embedded ones.

    Those that cannot be read or are smaller than the crop are counted and named by `warn`. The held-out picture
    is the first that holds a whole sample, else the one with the longest short side.
    Raises UsageError where fewer than two remain.
    """
    if data is None:
        return embedded(*EMBEDDED), embedded(EMBEDDED_SAMPLE)[0]
    short_sides, left_out = collections.OrderedDict(), []
    for path in list_images(data):
        try:
            side = short_side(path)
            if side < crop_size:
                left_out.append('%s: %d pixels at its short side, less than the crop' % (path, side))
            else:
                short_sides[path] = side
        except UnreadableImage as error:
            left_out.append(str(error))
    held_out = None
    for path in sorted(short_sides, key=lambda path: min(short_sides[path], SAMPLE_SIZE), reverse=True):
        try:
            read_image(path)
            held_out = path
            break
        except UnreadableImage as error:
            left_out.append(str(error))
            del short_sides[path]
    if left_out:
        warn('%d of %d pictures left out:\n  %s' % (
            len(left_out), len(left_out) + len(short_sides), '\n  '.join(left_out)))
    if len(short_sides) < 2:
        raise UsageError('--data %s has %d pictures of at least %d x %d pixels; training needs one, and one more is '
                         'held out for the samples' % (data, len(short_sides), crop_size, crop_size))
    return [path for path in short_sides if path != held_out], held_out


def sample_pair(path, lr_resize):
    """The middle of the held-out picture, at most 384 x 384: (lr uint8 [h, w, 3], hr uint8 [4h, 4w, 3])."""
    image = read_image(path)
    height, width = [min(size, SAMPLE_SIZE) // 4 * 4 for size in image.shape[:2]]
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    hr = image[top:top + height, left:left + width]
    return LR_RESIZES[lr_resize](hr, width // 4, height // 4), hr


# The stream

@functools.lru_cache(maxsize=2)
def crop_order(pictures, crops, seed):
    """Which picture each of an epoch's `crops` is cut from: every picture once before any is used again."""
    rng = np.random.RandomState(seed)
    rounds = -(-crops // pictures)
    return np.concatenate([rng.permutation(pictures) for _ in range(rounds)])[:crops]


def feeds(pictures, settings, stage, updates, epoch_updates, first=0, vgg_size=None):
    """The feeds of a stage's updates, number `first` up to `updates`, in the programs' names and NHWC layout.

    t_image [N, crop/4, crop/4, 3], t_target_image [N, crop, crop, 3] and, with `vgg_size`, vgg19_input
    [N, vgg_size, vgg_size, 3]: float32 in [-1, 1]. They depend on the seed, the stage's number and the update's
    alone, so that a resumed run sees what an uninterrupted one does. Threads read the pictures beside the
    Executor, LOOK_AHEAD batches ahead of it.
    """
    batch_size, hr_size, lr_size = settings.batch_size, settings.crop_size, settings.crop_size // 4
    crops_an_epoch = epoch_updates * batch_size

    def cut(number):
        epoch, number = divmod(number, crops_an_epoch)
        order = crop_order(len(pictures), crops_an_epoch, (settings.seed, stage, epoch))
        rng = np.random.RandomState((settings.seed, stage, epoch, number))
        hr = random_crop(pictures[order[number]], hr_size, rng)
        if settings.augment:
            hr = random_turn(hr, rng)
        hr = np.ascontiguousarray(hr)
        lr = LR_RESIZES[settings.lr_resize](hr, lr_size, lr_size)
        return (lr, hr, im_resize(hr, vgg_size, vgg_size)) if vgg_size else (lr, hr)

    ahead = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(READERS) as readers:
        try:
            for update in range(first, updates + LOOK_AHEAD):
                if update < updates:
                    numbers = range(update * batch_size, (update + 1) * batch_size)
                    ahead.append([readers.submit(cut, number) for number in numbers])
                if update >= first + LOOK_AHEAD:
                    crops = zip(*[future.result() for future in ahead.popleft()])
                    yield {name: standardized(images)
                           for name, images in zip(('t_image', 't_target_image', 'vgg19_input'), crops)}
        finally:
            for batch in ahead:
                for future in batch:
                    future.cancel()
