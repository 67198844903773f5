"""Enlarge a picture of any kind by G, in tiles that overlap so far that no seam appears."""
import cv2
import numpy as np
from PIL import Image

from cpu.tiles import windows
from data_utils import SCALE
from pictures.picture import to_image
from reading.picture_file import Picture, from_image

# Side of a tile, in pixels of the input picture.
TILE = 768


def upscale(image, model, tile=TILE, ensemble=False):
    """A picture four times as large, of the same type and mode.

    image: a PIL image, or an array uint8 or uint16 [H, W] or [H, W, C], C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGB
    and alpha. model: a cpu.fp32.Engine. tile: the side of a tile in pixels of `image`. ensemble: take the mean over the
    eight flips and quarter turns, which is eight times as slow. Raises ValueError for other arrays, and for PIL images
    with more than 16 bits for each colour.
    """
    if isinstance(image, Image.Image):
        picture = from_image(image)
        enlarged = to_image(np.concatenate(list(strips(picture, model, tile, ensemble))), picture.mode)
        enlarged.info = {name: image.info[name] for name in ('dpi', 'icc_profile') if name in image.info}
        return enlarged
    pixels = image[:, :, np.newaxis] if image.ndim == 2 else image
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim != 3 or pixels.shape[2] > 4 or not pixels.size:
        raise ValueError('not a picture: %s %s; wanted uint8 or uint16 [H, W] or [H, W, 1 to 4]' % (
            image.dtype, image.shape))
    enlarged = np.concatenate(list(strips(Picture(pixels, 'RGB'), model, tile, ensemble)))
    return enlarged[:, :, 0] if image.ndim == 2 else enlarged


def strips(picture, model, tile=TILE, ensemble=False, progress=iter):
    """Yield the enlarged pixels of a Picture [H, W, C] in strips [n, 4W, C] from top to bottom.

    progress: a function that wraps the list of all tiles, as tqdm does.
    """
    pixels = spread_colours(picture.pixels) if picture.has_alpha else picture.pixels
    height, width = pixels.shape[:2]
    columns = windows(width, tile, model.margin)
    tiles = [(row, column) for row in windows(height, tile, model.margin) for column in columns]
    for (top, bottom, rows), (left, right, keep) in progress(tiles):
        if keep[0] == 0:
            strip = np.empty((SCALE * (rows[1] - rows[0]), SCALE * width, pixels.shape[2]), pixels.dtype)
        kept = (rows[0] - top, rows[1] - top), (keep[0] - left, keep[1] - left)
        strip[:, SCALE * keep[0]:SCALE * keep[1]] = enlarge(
            pixels[top:bottom, left:right], picture, kept, model, ensemble)
        if keep[1] == width:
            yield strip
            # Free it before the next strip is made.
            del strip


def enlarge(pixels, picture, keep, model, ensemble):
    """A tile's pixels [H, W, C] -> the part to keep, enlarged, [4h, 4w, C]. keep: (rows, columns), each (start, stop).

    G takes three channels as RGB, and a single one as grey. The inks cyan, magenta and yellow of CMYK are inverted
    into RGB, and black is enlarged as grey.
    """
    if picture.mode == 'CMYK':
        colour, black = ~pixels[:, :, :3], pixels[:, :, 3:]
        return np.dstack([~generate(colour, keep, model, ensemble), generate(black, keep, model, ensemble)])
    if not picture.has_alpha:
        return generate(pixels, keep, model, ensemble)
    colour, alpha = pixels[:, :, :-1], pixels[:, :, -1:]
    return np.dstack([generate(colour, keep, model, ensemble), enlarge_alpha(alpha, keep, model, ensemble)])


def generate(pixels, keep, model, ensemble):
    """A tile's pixels [H, W, 3], or [H, W, 1] for grey -> the part to keep, enlarged by G, of the same type."""
    white = np.iinfo(pixels.dtype).max
    deep = white > 255
    values = pixels.astype(np.float32) * np.float32(2 / white) - 1
    values = values if values.shape[2] == 3 else values.repeat(3, axis=2)
    values = mean_of_turns(model, values, *keep, deep) if ensemble else model.enlarge(values, *keep, deep)
    values = values if pixels.shape[2] == 3 else values.mean(axis=2, keepdims=True)
    # The half makes the cast, which cuts off, round to the nearest.
    values *= white / 2
    values += white / 2 + 0.5
    return values.astype(pixels.dtype)


def mean_of_turns(model, values, rows, columns, deep):
    """Engine.enlarge, but the mean over the eight flips and quarter turns of `values`, each turned back."""
    total = 0
    for turns in range(4):
        for flip in (1, -1):
            turned = np.rot90(values, turns)[:, ::flip]
            total = total + np.rot90(model.enlarge(turned, deep=deep)[:, ::flip], -turns)
    (top, bottom), (left, right) = rows, columns
    return total[SCALE * top:SCALE * bottom, SCALE * left:SCALE * right] / 8


def enlarge_alpha(alpha, keep, model, ensemble):
    """Alpha [H, W, 1] enlarged by G as grey -> [4h, 4w, 1].

    Each value is clipped to the range of the 3 x 3 pixels around it, so opaque and transparent areas stay exactly so.
    """
    (top, bottom), (left, right) = keep
    kernel = np.ones((3, 3), np.uint8)
    low, high = [function(alpha, kernel)[top:bottom, left:right].repeat(SCALE, 0).repeat(SCALE, 1)[:, :, np.newaxis]
                 for function in (cv2.erode, cv2.dilate)]
    return low if np.array_equal(low, high) else np.clip(generate(alpha, keep, model, ensemble), low, high)


def spread_colours(pixels):
    """pixels [H, W, C], alpha last -> the same, each fully transparent pixel with the colour of the nearest other one.

    Otherwise the invisible colours of transparent pixels would bleed into visible edges.
    """
    hidden = pixels[:, :, -1] == 0
    if hidden.all() or not hidden.any():
        return pixels
    _, nearest = cv2.distanceTransformWithLabels(hidden.astype(np.uint8), cv2.DIST_L2, 5,
                                                 labelType=cv2.DIST_LABEL_PIXEL)
    colours = np.empty((nearest.max() + 1, pixels.shape[2] - 1), pixels.dtype)
    colours[nearest[~hidden]] = pixels[~hidden, :-1]
    return np.dstack([colours[nearest], pixels[:, :, -1]])
