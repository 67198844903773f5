"""What pictures go through before people have them: the low resolution of a crop, worn as on phones and web pages.

A crop is blurred, reduced by one of several kernels, gets noise, and is compressed as JPEG, some of them twice with a
resize in between. Each of these happens by chance, and with some chance none of them.
"""
import io

import cv2
import numpy as np
from PIL import Image

from data_utils import LR_RESIZES, SCALE

# Chances, and ranges from which values are drawn evenly.
CLEAN = 0.1                # of the crops stay as they are, so that G leaves alone what is not worn
BLUR = 0.3                 # are out of focus or shaken
BLUR_WIDTH = (0.5, 2.4)    # standard deviation in pixels of the high resolution
BLUR_ROUND = 0.6           # of the blurs are round; the others have a width of their own in each of two directions
PLAIN_KERNEL = 0.6         # are reduced by the recipe's kernel; the others by one that programs offer for it
KERNELS = (Image.BOX, Image.BILINEAR, Image.HAMMING, Image.LANCZOS)
NOISE = 0.3                # are noisy
NOISE_LEVEL = (1.0, 14.0)  # standard deviation in grey levels of the low resolution, at mid-grey if Poisson's
NOISE_POISSON = 0.4        # of the noises grow with the brightness, as a sensor's do
NOISE_GREY = 0.4           # of the noises are the same in all colours
WEB = 0.3                  # are compressed twice, larger the first time
WEB_FACTOR = (1.0, 2.0)    # how many times larger: what a chat or a web page makes of a larger picture
JPEG = 0.85                # are compressed
QUALITY = (30, 95)
JPEG_444 = 0.2             # of the JPEGs keep their colours at full resolution


def none(hr, lr_resize, rng):
    """The crop's plain reduction: hr uint8 [4h, 4w, 3] -> uint8 [h, w, 3]."""
    height, width = [size // SCALE for size in hr.shape[:2]]
    return LR_RESIZES[lr_resize](hr, width, height)


def photo(hr, lr_resize, rng):
    """A worn reduction: hr uint8 [4h, 4w, 3] -> uint8 [h, w, 3]. `rng` decides what happens to it."""
    if rng.uniform() < CLEAN:
        return none(hr, lr_resize, rng)
    if rng.uniform() < BLUR:
        hr = blurred(hr, rng)
    if rng.uniform() < PLAIN_KERNEL:
        lr = none(hr, lr_resize, rng)
    else:
        height, width = [size // SCALE for size in hr.shape[:2]]
        lr = resized(hr, width, height, KERNELS[rng.randint(len(KERNELS))])
    if rng.uniform() < NOISE:
        lr = noisy(lr, rng)
    if rng.uniform() < WEB:
        height, width = lr.shape[:2]
        factor = rng.uniform(*WEB_FACTOR)
        larger = resized(lr, round(factor * width), round(factor * height), Image.BICUBIC)
        lr = resized(compressed(larger, rng), width, height, KERNELS[rng.randint(len(KERNELS))])
    return compressed(lr, rng) if rng.uniform() < JPEG else lr


# {name for --degrade: function(hr, lr_resize, rng)}
DEGRADATIONS = {'none': none, 'photo': photo}


def blurred(image, rng):
    """A Gaussian blur, round or wider in one direction than in the other, in any direction."""
    widths = rng.uniform(*BLUR_WIDTH, size=2)
    if rng.uniform() < BLUR_ROUND:
        widths[1] = widths[0]
    angle = rng.uniform(0, np.pi)
    reach = int(np.ceil(3 * BLUR_WIDTH[1]))
    y, x = np.mgrid[-reach:reach + 1, -reach:reach + 1]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kernel = np.exp(-0.5 * ((along / widths[0]) ** 2 + (across / widths[1]) ** 2))
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)


def noisy(image, rng):
    """Normal noise, or Poisson's, which has the deviation of the level at mid-grey."""
    level = rng.uniform(*NOISE_LEVEL)
    light = np.maximum(image, 1) / 127.5 if rng.uniform() < NOISE_POISSON else 1.0
    grey = rng.uniform() < NOISE_GREY
    noise = rng.normal(0, level, image.shape[:2] + (1 if grey else 3,))
    return np.clip(np.round(image + noise * np.sqrt(light)), 0, 255).astype(np.uint8)


def compressed(image, rng):
    """The picture after JPEG."""
    data = io.BytesIO()
    subsampling = '4:4:4' if rng.uniform() < JPEG_444 else '4:2:0'
    Image.fromarray(image).save(data, 'JPEG', quality=int(rng.randint(QUALITY[0], QUALITY[1] + 1)),
                                subsampling=subsampling)
    return np.asarray(Image.open(data))


def resized(image, width, height, kernel):
    return np.asarray(Image.fromarray(image).resize((width, height), kernel))
