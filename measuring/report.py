"""The scores of several methods on several pictures, as a table for people and as JSON and CSV for programs.

A SCORES dict is {'psnr_y': dB, 'ssim_y': number, 'lpips': number}; 'lpips' is in it if LPIPS was measured.
"""
import csv
import io
import json
import math
import unicodedata

import numpy as np

from storage.files import replace_text


def mean(rows):
    """The mean of each score over SCORES dicts, without infinite ones unless all are: the PSNR of equal pictures."""
    rows = list(rows)
    means = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        means[name] = float(np.mean([value for value in values if math.isfinite(value)] or values))
    return means


class Table:
    """Prints a row for each picture as soon as it is measured, with a block of columns for each method."""

    # Of the terminal, in characters.
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
    """The width of a text on a terminal, in cells; a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(character) in 'WF' else 1 for character in text)


def fit(text, width):
    """The text filled with spaces to `width` cells; of a longer text only the end."""
    if cells(text) > width:
        while cells(text) > width - 1:
            text = text[1:]
        text = '…' + text
    return text + ' ' * (width - cells(text))


def finite(row):
    """The values of {name: value} as JSON can have them: None for numbers that are not finite."""
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in row.items()}


def write_json(path, data, lr, left_out, scores, means):
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
