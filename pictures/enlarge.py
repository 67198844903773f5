"""Enlarge a picture of any kind by G, in tiles that overlap so far that no seam appears."""
import cv2
import numpy as np
from PIL import Image, ImageOps

from cpu.tiles import windows
from data_utils import SCALE
from pictures.picture import extremes, to_image
from reading.blocks import ORIENTATION
from reading.picture_file import Picture, from_image

# Side of a tile, in pixels of the input picture.
TILE = 768
# A pixel is flat if all pixels up to this far around it have exactly its colour. 3 x 3 equal pixels are in many
# photographs, 5 x 5 in few, and there in lights or shadows that are cut off.
FLAT_RADIUS = 2
# Pixels of a flat area's colour, up to this far from 3 x 3 flat pixels, are freed from G's tint of this colour.
TINT_REACH = 8
# G enlarges alpha where 3 x 3 pixels span at least this share of the range; bicubic follows gentler slopes better.
STEEP = 0.75


def upscale(image, model, tile=TILE, ensemble=False):
    """A picture four times as large, of the same type; a PIL image upright, as its EXIF data say, and of the same mode,
    but L*a*b*, YCbCr and HSV become RGB, a transparent colour of L or RGB becomes alpha, and alpha by which colours are
    multiplied becomes plain alpha. Of its info it keeps dpi and icc_profile.

    image: a PIL image, or an array uint8 or uint16 [H, W] or [H, W, C], C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and
    alpha. model: a cpu.fp32.Engine. tile: the side of a tile in pixels of `image`, more than 2 * model.margin, which is
    72 for the article's G. ensemble: take the mean over the eight flips and quarter turns, which is eight times as
    slow. Raises ValueError for other arrays, and for PIL images with more than 16 bits for each colour.
    """
    if isinstance(image, Image.Image):
        lies = image.getexif().get(ORIENTATION) in (5, 6, 7, 8)
        image = ImageOps.exif_transpose(image)
        picture = from_image(image)
        enlarged = to_image(np.concatenate(list(strips(picture, model, tile, ensemble))), picture.mode)
        enlarged.info = {name: image.info[name] for name in ('dpi', 'icc_profile') if name in image.info}
        if lies and 'dpi' in enlarged.info:
            enlarged.info['dpi'] = enlarged.info['dpi'][::-1]
        return enlarged
    pixels = image[:, :, np.newaxis] if image.ndim == 2 else image
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim != 3 or pixels.shape[2] > 4 or not pixels.size:
        raise ValueError('not a picture: %s %s; wanted uint8 or uint16 [H, W] or [H, W, 1 to 4]' % (
            image.dtype, image.shape))
    enlarged = np.concatenate(list(strips(Picture(pixels, 'RGB'), model, tile, ensemble)))
    return enlarged[:, :, 0] if image.ndim == 2 else enlarged


def strips(picture, model, tile=TILE, ensemble=False, progress=iter):
    """Yield the enlarged pixels of a Picture [H, W, C] in strips [n, 4W, C] from top to bottom.

    If all pixels of RGB are grey, they are enlarged as grey. progress: a function that wraps the list of all tiles, as
    tqdm does.
    """
    pixels = spread_colours(picture.pixels) if picture.has_alpha else picture.pixels
    height, width, channels = pixels.shape
    grey = channels > 2 and picture.mode != 'CMYK' and all((row[:, :1] == row[:, 1:3]).all() for row in pixels)
    if grey:
        # G would tint them. Of RGBA the first channel and the last remain.
        pixels = pixels[:, :, ::3]
    columns = windows(width, tile, model.margin)
    tiles = [(row, column) for row in windows(height, tile, model.margin) for column in columns]
    for (top, bottom, rows), (left, right, keep) in progress(tiles):
        if keep[0] == 0:
            strip = np.empty((SCALE * (rows[1] - rows[0]), SCALE * width, pixels.shape[2]), pixels.dtype)
        kept = (rows[0] - top, rows[1] - top), (keep[0] - left, keep[1] - left)
        strip[:, SCALE * keep[0]:SCALE * keep[1]] = enlarge(
            pixels[top:bottom, left:right], picture, kept, model, ensemble)
        if keep[1] == width:
            yield strip.take([0, 0, 0, 1][:channels], 2) if grey else strip
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
    seen = (alpha > 0).astype(np.uint8)
    return np.dstack([generate(colour, keep, model, ensemble, seen), enlarge_alpha(alpha, keep, model, ensemble)])


def generate(pixels, keep, model, ensemble, seen=None):
    """A tile's pixels [H, W, 3], or [H, W, 1] for grey -> the part to keep, enlarged by G, of the same type.

    G tints areas of one colour, most of all at the picture's sides. So flat pixels keep their colour exactly, and near
    them G's tint of this colour is taken off. From a pixel to its neighbour both corrections go over linearly. Without
    flat pixels the result is G's alone. seen: uint8 [H, W], 0 for pixels that nobody sees and so are no flat area.
    """
    low, high = extremes(pixels, FLAT_RADIUS)
    flat = (low == high).reshape(pixels.shape).all(axis=2)
    if seen is not None:
        flat &= extremes(seen, FLAT_RADIUS)[0] > 0
    exact = enlarge_linear(flat[:, :, np.newaxis], keep)
    if (exact == 1).all():
        return repeat(pixels, keep)
    white = np.iinfo(pixels.dtype).max
    deep = white > 255
    lr = pixels.astype(np.float32) * np.float32(2 / white) - 1
    lr = lr if lr.shape[2] == 3 else lr.repeat(3, axis=2)
    values = mean_of_turns(model, lr, *keep, deep) if ensemble else model.enlarge(lr, *keep, deep)
    if flat.any():
        values -= enlarge_linear(tints(pixels, lr, flat, model), keep)
    values = values if pixels.shape[2] == 3 else values.mean(axis=2, keepdims=True)
    # The half makes the cast, which cuts off, round to the nearest.
    values *= white / 2
    values += white / 2 + 0.5
    if flat.any():
        values += exact * (repeat(pixels.astype(np.float32) + 0.5, keep) - values)
        np.clip(values, 0, white + 0.5, out=values)
    return values.astype(pixels.dtype)


def tints(pixels, lr, flat, model):
    """What G adds to the colours of flat areas: float32 [H, W, 3] for values in [-1, 1], 0 elsewhere.

    pixels [H, W, C]; lr: the same as [H, W, 3] in [-1, 1]; flat: bool [H, W]. The colour of a pixel is that of a flat
    area if the nearest pixel amid flat ones has it and is at most TINT_REACH away, but no farther than a tile can see.
    """
    amid, _ = extremes(flat.astype(np.uint8), 1)
    found = np.zeros_like(lr)
    if not amid.any():
        return found
    nearest, distance = nearest_colours(pixels, amid > 0)
    reach = min(TINT_REACH, model.margin - FLAT_RADIUS - 2)
    near = (nearest == pixels).all(axis=2) & (distance <= reach)
    # Numbers are sorted far faster than rows of three.
    numbers = pixels[near] @ np.array([2 ** 32, 2 ** 16, 1], np.uint64)[-pixels.shape[2]:]
    _, places, indices = np.unique(numbers, return_index=True, return_inverse=True)
    colours = lr[near][places]
    found[near] = (model.enlarge_colours(colours) - colours)[indices]
    return found


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
    """Alpha [H, W, 1] -> the part to keep, enlarged, [4h, 4w, 1].

    G enlarges steep edges that have values in between, as anti-aliasing draws them, and bicubic everything else: of an
    edge that has only opaque and transparent pixels G would draw the stairs. Each value is clipped to the range of the
    3 x 3 pixels around it, so opaque and transparent areas stay exactly so.
    """
    low, high = extremes(alpha, 1)
    bounds = [repeat(limit[:, :, np.newaxis], keep) for limit in (low, high)]
    if np.array_equal(*bounds):
        return bounds[0]
    (top, bottom), (left, right) = keep
    white = np.iinfo(alpha.dtype).max
    values = bicubic(alpha[:, :, 0], white)[SCALE * top:SCALE * bottom, SCALE * left:SCALE * right, np.newaxis]
    _, between = extremes(((alpha > 0) & (alpha < white)).astype(np.uint8), 1)
    steep = enlarge_linear(((between > 0) & (high - low >= STEEP * white))[:, :, np.newaxis], keep)
    if steep.any():
        values = values + steep * (generate(alpha, keep, model, ensemble) - values)
    return np.clip(np.rint(values), *bounds).astype(alpha.dtype)


def bicubic(values, white):
    """PIL's bicubic of values [H, W] from 0 to white, which it clips after each direction -> float32 [4h, 4w]."""
    height, width = values.shape
    for size in ((SCALE * width, height), (SCALE * width, SCALE * height)):
        values = np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, Image.BICUBIC)).clip(0, white)
    return values


def repeat(pixels, keep):
    """The part to keep of pixels [H, W, C], each pixel repeated, [4h, 4w, C]."""
    (top, bottom), (left, right) = keep
    return pixels[top:bottom, left:right].repeat(SCALE, 0).repeat(SCALE, 1)


def enlarge_linear(values, keep):
    """The part to keep of values bool or float32 [H, W, C], bilinearly enlarged, float32 [4h, 4w, C]."""
    (top, bottom), (left, right) = keep
    large = cv2.resize(values.astype(np.float32), None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_LINEAR)
    return large[SCALE * top:SCALE * bottom, SCALE * left:SCALE * right].reshape(
        SCALE * (bottom - top), SCALE * (right - left), -1)


def spread_colours(pixels):
    """pixels [H, W, C], alpha last -> the same, each fully transparent pixel with the colour of the nearest other one.

    Otherwise the invisible colours of transparent pixels would bleed into visible edges.
    """
    seen = pixels[:, :, -1] > 0
    if seen.all() or not seen.any():
        return pixels
    colours, _ = nearest_colours(pixels[:, :, :-1], seen)
    return np.dstack([colours, pixels[:, :, -1]])


def nearest_colours(pixels, chosen):
    """For each of the pixels [H, W, C] the nearest `chosen` one, bool [H, W]: its colour [H, W, C], its distance."""
    distance, nearest = cv2.distanceTransformWithLabels((~chosen).astype(np.uint8), cv2.DIST_L2, 5,
                                                        labelType=cv2.DIST_LABEL_PIXEL)
    colours = np.empty((nearest.max() + 1, pixels.shape[2]), pixels.dtype)
    colours[nearest[chosen]] = pixels[chosen]
    return colours[nearest], distance
