"""Measure networks by the protocol of the super-resolution papers.

    python evaluate.py --data Set5 --model models/g_models
    python evaluate.py --data DIV2K_valid_HR --model models/g_models other.npz --lpips --json scores.json --save strips

Each picture is cropped to a multiple of 4. Its low-resolution partner is taken from the folder where there is one:
NAME_LR beside NAME_HR, or as DIV2K has it, NAMEx4 in ..._LR_bicubic/X4 beside ..._HR; else it is made by bicubic
reduction. PSNR and SSIM are measured on luma with 4 pixels cut from each side, LPIPS on the whole RGB picture.

--json: {"data": DIR, "lr": "folder" or "bicubic", "left_out": [LINE, ...], "models": {MODEL: {"mean": SCORES,
"pictures": {PICTURE: SCORES}}}} with SCORES {"psnr_y": dB, null where infinite, "ssim_y": number, "lpips": number}.
--csv: the columns picture, model, psnr_y, ssim_y, lpips; a row for each picture and model, and a row `mean` for each
model. Both have lpips with --lpips alone.
"""
import argparse
import collections
import csv
import functools
import io
import json
import math
import os
import re
import sys
import unicodedata

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cli import command
from cli.command import Parser, RunError, UsageError, positive
from cli.paddle_setup import set_threads
from cpu import engine
from data_utils import EXTENSIONS, UnreadableImage, bicubic_resize, list_images, read_image
from measuring import lpips_alex, metrics
from storage import networks
from storage.files import replace_file, replace_text
from upscale import SCALE, upscale

# What LPIPS needs, as a multiple of SCALE; without --lpips too, so that its means are over the same pictures.
SMALLEST = 32


def main(argv):
    options = parse(argv)
    pairs, left_out = find_pairs(options.data)
    set_threads(options.threads)
    methods = {'bicubic': enlarge_bicubic}
    methods.update((name, enlarger(path, options.precision)) for name, path in model_names(options.model).items())
    measures = {'psnr_y': metrics.psnr_y, 'ssim_y': metrics.ssim_y}
    if options.lpips:
        measures['lpips'] = lpips_alex.Lpips(lpips_alex.read_weights())

    for line in left_out:
        warn(line)
    print('low-resolution pictures %s' % ('from the folder' if pairs[0].lr else 'made by bicubic reduction'))
    table = Table([pair.name for pair in pairs], methods, measures)
    scores = {method: {} for method in methods}
    for pair in pairs:
        try:
            lr, hr = read_pair(pair)
        except UnreadableImage as error:
            left_out.append(str(error))
            warn(error)
            continue
        images = {method: enlarge(lr) for method, enlarge in methods.items()}
        for method, image in images.items():
            scores[method][pair.name] = {name: measure(image, hr) for name, measure in measures.items()}
        table.row(pair.name, [scores[method][pair.name] for method in methods])
        if options.save:
            save_strip(os.path.join(options.save, pair.name + '_strip.png'), lr, hr, images,
                       [scores[method][pair.name] for method in methods])

    done = len(scores['bicubic'])
    if not done:
        raise RunError('%s: none of the %d pictures could be measured' % (options.data, len(left_out)))
    means = {method: mean(rows.values()) for method, rows in scores.items()}
    table.row('mean of %d' % done, means.values())
    print('PSNR (dB) and SSIM on luma, %d pixels cut from each side%s' % (
        SCALE, '; LPIPS: AlexNet v0.1, lower is better' if options.lpips else ''))
    if options.json:
        write_json(options.json, options.data, 'folder' if pairs[0].lr else 'bicubic', left_out, scores, means)
    if options.csv:
        write_csv(options.csv, scores, means)
    if left_out:
        raise RunError('%d of %d pictures left out of the mean' % (len(left_out), len(left_out) + done))


def warn(line):
    sys.stdout.flush()
    print('left out: %s' % line, file=sys.stderr, flush=True)


def parse(argv):
    """The command line as a Namespace, its files and folders checked. Raises UsageError."""
    parser = Parser(prog='evaluate.py', allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
                    description=__doc__)
    parser.add_argument('--data', metavar='DIR', required=True, help='folder of pictures, with its sub-folders')
    parser.add_argument('--model', metavar='DIR', nargs='+', action='append',
                        help='networks, each a directory, a .npz, srgan or srresnet of pretrained/ (%s, else srgan); '
                        'bicubic for no network' % networks.TRAINED)
    parser.add_argument('--lpips', action='store_true', help='measure LPIPS too; fetches its weights once')
    parser.add_argument('--json', metavar='FILE', help='write the scores for programs')
    parser.add_argument('--csv', metavar='FILE', help='write the scores for spreadsheets')
    parser.add_argument('--save', metavar='DIR', help='write a comparison of each picture, NAME_strip.png')
    parser.add_argument('--precision', choices=('fp32', 'int8'), default='fp32', help='what networks compute in (fp32)')
    parser.add_argument('--threads', type=positive, metavar='N', help='for computing (all cores)')
    options = parser.parse_args(argv)
    if options.model is None:
        options.model = [[networks.default() or 'bicubic']]
    options.model = [networks.find(name) for names in options.model for name in names if name != 'bicubic']
    for path in (options.json, options.csv):
        if path and (os.path.isdir(path) or not os.path.isdir(os.path.dirname(os.path.abspath(path)))):
            raise UsageError('%s cannot be written: it is a folder, or its folder is not there' % path)
    if options.save and is_inside(options.save, options.data):
        raise UsageError('--save %s lies in --data, and its pictures would be measured next time' % options.save)
    return options


def is_inside(path, folder):
    path, folder = os.path.realpath(path), os.path.realpath(folder)
    return os.path.commonpath([path, folder]) == folder


# The pictures

Pair = collections.namedtuple('Pair', 'name hr lr')

# An LR picture by its path: img_LR.png, LR/img.png, DIV2K_valid_LR_bicubic/X4/img.png.
LR_PATH = re.compile(r'_LR\.[^./]+$|(^|[_/])LR(_[^/]*)?/')


def find_pairs(folder):
    """The pictures to measure -> (pairs, left_out).

    pairs: Pair(name, hr path, lr path), lr None in all of them where none has an LR picture.
    left_out: a line for each picture that lacks its partner. Raises UsageError.
    """
    relative = {path: os.path.relpath(path, folder).replace(os.sep, '/') for path in list_images(folder)}
    partners = {path: find_lr(path) for path in relative if not LR_PATH.search(relative[path])}
    if not partners:
        raise UsageError('--data %s: no high-resolution picture in it (%s)' % (folder, ' '.join(EXTENSIONS)))
    paired = [path for path in partners if partners[path]] or list(partners)
    left_out = ['%s: no low-resolution partner, as others have' % path for path in partners if path not in paired]

    known = {os.path.abspath(path) for path in [*partners, *filter(None, partners.values())]}
    folders = {os.path.dirname(path) for path in known}
    left_out += ['%s: no high-resolution partner' % path for path in relative
                 if os.path.abspath(path) not in known and os.path.dirname(os.path.abspath(path)) in folders]

    names = {path: re.sub('_HR$', '', os.path.splitext(relative[path])[0]) for path in paired}
    count = collections.Counter(names.values())
    return [Pair(names[path] if count[names[path]] == 1 else relative[path], path, partners[path])
            for path in paired], left_out


def find_lr(hr_path):
    """The LR partner of a picture by the names that Set5 and DIV2K use, or None."""
    folder, file_name = os.path.split(os.path.abspath(hr_path))
    name, extension = os.path.splitext(file_name)
    candidates = []
    if name.endswith('_HR'):
        candidates.append(os.path.join(folder, name[:-2] + 'LR'))
    if folder.endswith('HR'):
        candidates += [os.path.join(folder[:-2] + lr_folder, lr_name)
                       for lr_folder in ('LR_bicubic/X4', 'LR_bicubic', 'LR/X4', 'LR')
                       for lr_name in (name + 'x4', name)]
    paths = [candidate + ending for candidate in candidates for ending in (extension,) + EXTENSIONS]
    return next(filter(os.path.isfile, paths), None)


def read_pair(pair):
    """-> (lr uint8 [h, w, 3], hr uint8 [4h, 4w, 3]). Raises UnreadableImage where they are not usable."""
    hr = read_image(pair.hr)
    height, width = [size // SCALE for size in hr.shape[:2]]
    if min(height, width) < SMALLEST // SCALE:
        raise UnreadableImage('%s: %d x %d, smaller than %d x %d' % (
            pair.hr, hr.shape[1], hr.shape[0], SMALLEST, SMALLEST))
    hr = np.ascontiguousarray(hr[:height * SCALE, :width * SCALE])
    lr = read_image(pair.lr) if pair.lr else bicubic_resize(hr, width, height)
    if lr.shape != (height, width, 3):
        raise UnreadableImage('%s: its low-resolution partner %s is %d x %d, not %d x %d' % (
            pair.hr, os.path.basename(pair.lr), lr.shape[1], lr.shape[0], width, height))
    return lr, hr


# The methods

def enlarge_bicubic(lr):
    return bicubic_resize(lr, lr.shape[1] * SCALE, lr.shape[0] * SCALE)


def enlarger(path, precision):
    """upscale.upscale by the network `path`: uint8 [H, W, 3] -> uint8 [4H, 4W, 3]. Raises UsageError."""
    return functools.partial(upscale, model=engine.load(path, precision))


def model_names(paths):
    """A name for each network, the end of its path, as long as it takes to tell them apart -> {name: path}."""
    paths = list({os.path.abspath(path): path for path in paths}.values())
    parts = [os.path.abspath(path).split(os.sep) for path in paths]
    for length in range(1, max(map(len, parts), default=0) + 1):
        names = ['/'.join(part[-length:]) for part in parts]
        if len(set(names + ['bicubic'])) == len(names) + 1:
            return dict(zip(names, paths))
    return {}


# The scores

def mean(rows):
    """The mean of each score over SCORES dicts."""
    rows = list(rows)
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


class Table:
    """Scores for people: a row a picture, printed as it comes, and a block of columns a method."""

    WIDTH = 100
    COLUMNS = {'psnr_y': (' PSNR', '%5.2f'), 'ssim_y': ('  SSIM', '%6.4f'), 'lpips': ('LPIPS', '%5.3f')}

    def __init__(self, pictures, methods, measures):
        self.measures = list(measures)
        heading = ' '.join(self.COLUMNS[name][0] for name in self.measures)
        names = [*pictures, 'mean of %d' % len(pictures)]
        self.name_width = min(max(map(cells, names)), max(20, self.WIDTH - len(methods) * (len(heading) + 2)))
        room = (self.WIDTH - self.name_width) // len(methods) - 2
        self.block_width = max(len(heading), min(room, max(map(cells, methods))))
        self.line('', methods)
        self.line('picture', [heading] * len(methods))

    def row(self, name, scores):
        self.line(name, [' '.join(self.COLUMNS[measure][1] % score[measure] for measure in self.measures)
                         for score in scores])

    def line(self, name, blocks):
        parts = [fit(name, self.name_width)] + [fit(block, self.block_width) for block in blocks]
        print('  '.join(parts).rstrip(), flush=True)


def cells(text):
    """The width of a text on a terminal, where Chinese characters are two cells wide."""
    return sum(2 if unicodedata.east_asian_width(character) in 'WF' else 1 for character in text)


def fit(text, width):
    """The text filled up to `width` cells, or its end where it is longer."""
    if cells(text) > width:
        while cells(text) > width - 1:
            text = text[1:]
        text = '…' + text
    return text + ' ' * (width - cells(text))


def write_json(path, data, lr, left_out, scores, means):
    def finite(row):
        return {name: value if math.isfinite(value) else None for name, value in row.items()}

    report = {'data': data, 'lr': lr, 'left_out': left_out, 'models': {
        method: {'mean': finite(means[method]), 'pictures': {name: finite(row) for name, row in rows.items()}}
        for method, rows in scores.items()}}
    replace_text(path, json.dumps(report, indent=1, allow_nan=False) + '\n')


def write_csv(path, scores, means):
    text = io.StringIO(newline='')
    measures = list(means['bicubic'])
    rows = csv.writer(text)
    rows.writerow(['picture', 'model'] + measures)
    for method in scores:
        for name, row in [*scores[method].items(), ('mean', means[method])]:
            rows.writerow([name, method] + [row[measure] for measure in measures])
    replace_text(path, text.getvalue())


# Comparison strips

# Side of the detail in pixels and how much it is enlarged; pixels between tiles and for the label under one.
DETAIL, ZOOM, GAP, LABEL = 96, 2, 8, 40


def save_strip(path, lr, hr, images, scores):
    """Write one picture's comparison: the whole of it, and a detail as LR, as each method has it and as HR.

    images: {method: uint8 RGB [H, W, 3]}; scores: a SCORES dict for each.
    """
    tiles = [('low resolution', '%d x %d' % lr.shape[1::-1], lr.repeat(SCALE, 0).repeat(SCALE, 1))]
    tiles += [(method, caption(score), image) for (method, image), score in zip(images.items(), scores)]
    tiles += [('original', '%d x %d' % hr.shape[1::-1], hr)]
    left, top, right, bottom = box = find_detail(hr, images['bicubic'])
    side = DETAIL * ZOOM
    columns = math.ceil(len(tiles) / 2)
    height = 2 * (side + LABEL) + GAP

    whole = Image.fromarray(hr)
    factor = min((height - LABEL) / whole.height, 1.2 * height / whole.width)
    whole = whole.resize([round(size * factor) for size in whole.size], Image.LANCZOS)
    frame = ImageDraw.Draw(whole)
    frame.rectangle([round(edge * factor) for edge in box], outline='white', width=4)
    frame.rectangle([round(edge * factor) + inset for edge, inset in zip(box, (1, 1, -1, -1))], outline='red', width=2)

    strip = Image.new('RGB', (whole.width + columns * (GAP + side), height), 'white')
    paste(strip, (0, 0), whole, 'original', 'framed: the detail')
    for i, (name, text, image) in enumerate(tiles):
        row, column = divmod(i, columns)
        detail = Image.fromarray(image[top:bottom, left:right])
        paste(strip, (whole.width + GAP + column * (side + GAP), row * (side + LABEL + GAP)),
              detail.resize((side, side), Image.NEAREST), fit(name, 24), text)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    replace_file(path, lambda file: strip.save(file, 'PNG'))


def find_detail(hr, bicubic):
    """The square that bicubic gets most wrong, as (left, top, right, bottom) in multiples of SCALE."""
    size = min(DETAIL, *hr.shape[:2])
    error = (metrics.luma(hr) - metrics.luma(bicubic)) ** 2
    total = np.pad(error.cumsum(0).cumsum(1), ((1, 0), (1, 0)), 'constant')
    squares = total[size:, size:] - total[:-size, size:] - total[size:, :-size] + total[:-size, :-size]
    squares = squares[::SCALE, ::SCALE]
    top, left = [SCALE * int(place) for place in np.unravel_index(squares.argmax(), squares.shape)]
    return left, top, left + size, top + size


def caption(score):
    text = '%.2f dB' % score['psnr_y']
    return text + ', LPIPS %.3f' % score['lpips'] if 'lpips' in score else text


def paste(strip, position, tile, name, text):
    """Put a tile on the strip with two lines under it."""
    # matplotlib brings the fonts that PIL lacks.
    from matplotlib import get_data_path
    strip.paste(tile, position)
    draw = ImageDraw.Draw(strip)
    for line, font, below in ((name, 'DejaVuSans-Bold.ttf', 3), (text, 'DejaVuSans.ttf', 20)):
        font = ImageFont.truetype(os.path.join(get_data_path(), 'fonts', 'ttf', font), 13)
        draw.text((position[0], position[1] + tile.height + below), line, 'black', font)


if __name__ == '__main__':
    sys.exit(command.run(main))
