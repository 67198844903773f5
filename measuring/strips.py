"""Figures of pictures side by side, and comparison strips: what each method makes of one detail."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from data_utils import SCALE
from measuring import metrics
from measuring.report import fit
from storage.files import replace_file

# Side of the detail in pixels.
DETAIL = 96
# In pixels of a figure: the side of a panel, the room above the first row for titles and below a row for captions, and
# between panels.
PANEL, TITLE, CAPTION, GAP = 288, 32, 32, 8
# Pixels an inch.
FIGURE_DPI = 100


def save_strip(path, lr, hr, images, scores):
    """Write one picture's comparison as PNG: the whole original, and a detail of LR, of each method and of HR.

    lr: uint8 RGB [H, W, 3]; hr: uint8 RGB [4H, 4W, 3]; images: {method: uint8 RGB [4H, 4W, 3]}; scores: a SCORES dict
    (see report) for each method.
    """
    figure = FigureCanvasAgg(Figure()).figure
    row = strip(lr, hr, images, scores, find_detail(hr, images['bicubic']))
    draw(figure, ['', 'low resolution', *(fit(name, 28).rstrip() for name in images), 'original'], [row])
    replace_file(path, lambda file: figure.savefig(file, format='png', dpi=FIGURE_DPI))


def strip(lr, hr, images, scores, box, worn=None):
    """The row of `draw` for one picture; as save_strip. box: (left, top, right, bottom) of the detail, in hr.

    worn: the caption of the low resolution; its size by default.
    """
    left, top, right, bottom = box
    versions = [(lr.repeat(SCALE, 0).repeat(SCALE, 1), worn or '%d x %d' % lr.shape[1::-1]),
                *zip(images.values(), map(in_words, scores)), (hr, '%d x %d' % hr.shape[1::-1])]
    return [(framed(hr, box, PANEL / max(hr.shape[:2])), ''),
            *[(image[top:bottom, left:right], caption) for image, caption in versions]]


def draw(figure, titles, rows, side=PANEL, title_room=TITLE, gap=GAP):
    """Fill a matplotlib figure with rows of (image, caption), each image fitted into a square; titles: of the columns.

    side, title_room, gap: in pixels, see PANEL. The figure gets the size that they need.
    """
    rooms = [CAPTION if any(caption for _, caption in row) else gap for row in rows]
    width = len(titles) * (side + gap) + gap
    height = title_room + len(rows) * side + sum(rooms)
    figure.set_dpi(FIGURE_DPI)
    figure.set_size_inches(width / FIGURE_DPI, height / FIGURE_DPI)
    for number, row in enumerate(rows):
        bottom = sum(rooms[number:]) + side * (len(rows) - 1 - number)
        for column, (image, caption) in enumerate(row):
            left = gap + column * (side + gap)
            axes = figure.add_axes([left / width, bottom / height, side / width, side / height])
            axes.imshow(image, interpolation='nearest')
            axes.axis('off')
            axes.set_title('' if number else titles[column], fontsize=11, fontweight='bold')
            axes.annotate(caption, (0.5, 0), (0, -4), 'axes fraction', 'offset points', fontsize=11, ha='center',
                          va='top')


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


def in_words(score):
    text = '%.2f dB' % score['psnr_y']
    return text + ', LPIPS %.3f' % score['lpips'] if 'lpips' in score else text
