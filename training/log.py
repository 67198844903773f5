"""The log of a run: a row an epoch in log.csv, and the curves drawn from it."""
import csv
import io
import math
import os
import time

import losses
from storage.files import replace_file, replace_text
from training.stages import STAGES
from training.visual_log import VisualLog

COLUMNS = ('stage', 'epoch', 'update', *losses.COLUMNS, 'psnr_y', 'val_psnr_y', 'val_ssim_y', 'learning_rate',
           'seconds', 'waited', 'pictures_per_second')
SECONDS_BETWEEN_DRAWINGS = 20
# The same in all panels: G's own, what is real or validated, what is generated. Others count on.
COLOURS = {'psnr_y': 'C0', 'l_g_pix': 'C0', 'l_g_gan': 'C0', 'val_psnr_y': 'C2', 'l_d_real': 'C2', 'd_real': 'C2',
           'l_d_fake': 'C3', 'd_fake': 'C3', 'l_g_percep': 'C4'}


class RunLog:
    """The rows so far, kept in a folder as log.csv and curves.png, and for VisualDL where that is wanted.

    All of them are always of the whole run. Raises UsageError where VisualDL is wanted and not installed.
    """

    def __init__(self, folder, rows=(), visualdl=False):
        self.folder, self.rows = folder, list(rows)
        self.drawn = -math.inf
        self.visual = VisualLog(folder, rows) if visualdl else None

    def add(self, row):
        """Log an epoch: {column: value}; a loss that its stage does not have is left out."""
        self.rows.append(row)
        self.write()
        if self.visual:
            self.visual.add(row)
        if time.monotonic() - self.drawn > SECONDS_BETWEEN_DRAWINGS:
            self.draw()

    def write(self):
        text = io.StringIO(newline='')
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(self.rows)
        replace_text(os.path.join(self.folder, 'log.csv'), text.getvalue())

    def draw(self):
        replace_file(os.path.join(self.folder, 'curves.png'), lambda file: draw_curves(self.rows, file))
        self.drawn = time.monotonic()


def named(labels):
    """{column: 'column: label'} of {column: label}."""
    return {column: '%s: %s' % (column, label) for column, label in labels.items()}


# The panels of curves.png: title, unit, {column: label}, whether the axis is logarithmic.
PANELS = (
    ('Quality', 'PSNR-Y in dB', {'psnr_y': 'held-out picture', 'val_psnr_y': 'validation'}, False),
    ('Content losses of G', 'loss', named(losses.CONTENT_CURVES), True),
    ('Adversarial losses', 'loss', named(losses.ADVERSARIAL_CURVES), False),
    ("D's opinion", '0 generated ... 1 real', losses.OPINION_CURVES, False))


def draw_curves(rows, file):
    """Draw the course of a run as a PNG: both stages one after the other, each curve as it is and smoothed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    stages = [[row for row in rows if row['stage'] == stage] for stage in STAGES]
    start = max([row['update'] for row in stages[0]], default=0)
    # Eight inches are some 800 pixels on a page, and the resolution is that of a fine screen.
    figure = Figure(figsize=(8, 5.6), dpi=150, constrained_layout=True)
    FigureCanvasAgg(figure)
    for axes, (title, unit, curves, logarithmic) in zip(figure.subplots(2, 2).flat, PANELS):
        for number, (column, label) in enumerate(curves.items()):
            colour = COLOURS.get(column, 'C%d' % (4 + number))
            for offset, stage in zip((0, start), stages):
                points = [(offset + row['update'], row[column]) for row in stage if column in row]
                if points:
                    updates, values = zip(*points)
                    axes.plot(updates, values, color=colour, alpha=0.3, linewidth=1, marker='.',
                              markersize=2 if len(values) > 20 else 6)
                    axes.plot(updates, smooth(values), color=colour, linewidth=1.8, label=label)
                    # One entry in the legend for both stages.
                    label = None
        if stages[1]:
            axes.axvspan(start, start + stages[1][-1]['update'], color='C1', alpha=0.08, linewidth=0)
            axes.axvline(start, color='C1', linewidth=1)
        axes.set(title=title, xlabel='updates', ylabel=unit, yscale='log' if logarithmic and axes.lines else 'linear')
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize='small', framealpha=0.8)
        else:
            axes.text(0.5, 0.5, 'from the adversarial stage on', ha='center', va='center', transform=axes.transAxes,
                      color='grey')
    if all(stages):
        figure.suptitle('pre-training, then adversarial training (shaded)', fontsize='medium', color='grey')
    figure.savefig(file, format='png')


def smooth(values):
    """The mean of each value and its neighbours, up to an eighth of the curve and as many on either side."""
    half = len(values) // 16
    reaches = [min(half, place, len(values) - 1 - place) for place in range(len(values))]
    return [sum(values[place - reach:place + reach + 1]) / (2 * reach + 1) for place, reach in enumerate(reaches)]
