"""Comparison strips: a picture, and beside it each method's version of the detail that bicubic gets most wrong."""
import math
import os

import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from data_utils import SCALE
from measuring import metrics
from measuring.report import fit
from storage.files import replace_file

# Side of the detail in pixels, and how much it is enlarged.
DETAIL, ZOOM = 96, 2
# In pixels: between tiles, and for the label under a tile.
GAP, LABEL = 8, 40
# Pixels an inch of the figures that show_panel fills.
FIGURE_DPI = 100


def save_strip(path, lr, hr, images, scores):
    """Write one picture's comparison as PNG: the whole original, and a detail of LR, of each method and of HR.

    lr: uint8 RGB [H, W, 3]; hr: uint8 RGB [4H, 4W, 3]; images: {method: uint8 RGB [4H, 4W, 3]}; scores: a SCORES dict
    (see report) for each method.
    """
    tiles = [('low resolution', '%d x %d' % lr.shape[1::-1], lr.repeat(SCALE, 0).repeat(SCALE, 1)),
             *((method, caption(score), image) for (method, image), score in zip(images.items(), scores)),
             ('original', '%d x %d' % hr.shape[1::-1], hr)]
    left, top, right, bottom = box = find_detail(hr, images['bicubic'])
    side = DETAIL * ZOOM
    columns = math.ceil(len(tiles) / 2)
    height = 2 * (side + LABEL) + GAP
    whole = framed(hr, box, min((height - LABEL) / hr.shape[0], 1.2 * height / hr.shape[1]))
    strip = Image.new('RGB', (whole.width + columns * (GAP + side), height), 'white')
    paste(strip, (0, 0), whole, 'original', 'framed: the detail')
    for i, (name, text, image) in enumerate(tiles):
        row, column = divmod(i, columns)
        detail = Image.fromarray(image[top:bottom, left:right])
        paste(strip, (whole.width + GAP + column * (side + GAP), row * (side + LABEL + GAP)),
              detail.resize((side, side), Image.NEAREST), fit(name, 24), text)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    replace_file(path, lambda file: strip.save(file, 'PNG'))


def framed(image, box, factor):
    """A picture uint8 [H, W, 3] resized by `factor`, framed around box (left, top, right, bottom), as a PIL image."""
    whole = Image.fromarray(image)
    whole = whole.resize([round(size * factor) for size in whole.size], Image.LANCZOS)
    left, top, right, bottom = [round(edge * factor) for edge in box]
    draw = ImageDraw.Draw(whole)
    draw.rectangle([left, top, right, bottom], outline='white', width=4)
    draw.rectangle([left + 1, top + 1, right - 1, bottom - 1], outline='red', width=2)
    return whole


def find_detail(hr, bicubic):
    """The square of DETAIL pixels that bicubic gets most wrong, as (left, top, right, bottom).

    hr, bicubic: uint8 RGB [H, W, 3]. left and top are multiples of SCALE.
    """
    size = min(DETAIL, *hr.shape[:2])
    error = (metrics.luma(hr) - metrics.luma(bicubic)) ** 2
    # total[y, x] sums the error above and left of (y, x), so four of its values give the error in any square.
    total = np.pad(error.cumsum(0).cumsum(1), ((1, 0), (1, 0)), 'constant')
    squares = total[size:, size:] - total[:-size, size:] - total[size:, :-size] + total[:-size, :-size]
    squares = squares[::SCALE, ::SCALE]
    top, left = [SCALE * int(place) for place in np.unravel_index(squares.argmax(), squares.shape)]
    return left, top, left + size, top + size


def show_panel(figure, image, left, bottom, side, title='', caption='', title_size=11):
    """Show an image [H, W, 3] in a square of a matplotlib figure, its title above and its caption below.

    left, bottom, side: in pixels of the figure, which has FIGURE_DPI; the image is fitted into the square.
    """
    width, height = figure.get_size_inches() * FIGURE_DPI
    axes = figure.add_axes([left / width, bottom / height, side / width, side / height])
    axes.imshow(image, interpolation='nearest')
    axes.axis('off')
    axes.set_title(title, fontsize=title_size, fontweight='bold')
    axes.annotate(caption, (0.5, 0), (0, -4), 'axes fraction', 'offset points', fontsize=11, ha='center', va='top')


def caption(score):
    text = '%.2f dB' % score['psnr_y']
    return text + ', LPIPS %.3f' % score['lpips'] if 'lpips' in score else text


def paste(strip, position, tile, name, text):
    """Put a tile on the strip and two lines of text under it, in fonts that come with matplotlib."""
    strip.paste(tile, position)
    draw = ImageDraw.Draw(strip)
    for line, font, below in ((name, 'DejaVuSans-Bold.ttf', 3), (text, 'DejaVuSans.ttf', 20)):
        font = ImageFont.truetype(os.path.join(get_data_path(), 'fonts', 'ttf', font), 13)
        draw.text((position[0], position[1] + tile.height + below), line, 'black', font)
