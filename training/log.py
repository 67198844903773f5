"""The log of a run: log.csv with a row for each epoch, and the curves drawn from it."""
import csv
import io
import math
import os
import time

import losses
from cli.command import UsageError
from storage.files import replace_file, replace_text
from training.stages import STAGES
from training.visual_log import VisualLog

COLUMNS = ('stage', 'epoch', 'update', *losses.COLUMNS, 'psnr_y', 'lpips', 'val_psnr_y', 'val_ssim_y',
           'learning_rate', 'seconds', 'waited', 'pictures_per_second')
SECONDS_BETWEEN_DRAWINGS = 40
# A colour means the same in all panels: C0 G's own curve, C2 real pictures or validation, C3 generated pictures. Other
# curves take the colours from C4 on.
COLOURS = {'psnr_y': 'C0', 'lpips': 'C0', 'l_g_pix': 'C0', 'l_g_gan': 'C0', 'learning_rate': 'C0', 'val_psnr_y': 'C2',
           'l_d_real': 'C2', 'd_real': 'C2', 'l_d_fake': 'C3', 'd_fake': 'C3', 'l_g_percep': 'C4'}


class RunLog:
    """The rows of a run, written to log.csv and curves.png in a folder, and for VisualDL if `visualdl`.

    log.csv always shows the whole run, the curves once they are drawn. moved: whether a resumed run had another folder
    before. Raises UsageError if the folder has the log of another run, or if VisualDL is wanted and not installed.
    """

    def __init__(self, folder, rows=(), visualdl=False, moved=False):
        self.folder = folder
        self.rows = list(rows)
        if self.rows or moved:
            require_own(os.path.join(folder, 'log.csv'), self.rows)
        # When the curves were last drawn, and of how many rows.
        self.drawn_at = -math.inf
        self.drawn_rows = None
        self.visual = VisualLog(folder, rows) if visualdl else None

    def add(self, row):
        """Log an epoch. row: {column: value}, without the losses that its stage does not have."""
        self.rows.append(row)
        self.write()
        if self.visual:
            self.visual.add(row)
        if time.monotonic() - self.drawn_at > SECONDS_BETWEEN_DRAWINGS:
            self.draw()

    def write(self):
        text = io.StringIO(newline='')
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(self.rows)
        replace_text(os.path.join(self.folder, 'log.csv'), text.getvalue())

    def draw(self):
        """Draw the curves, unless they already show all rows."""
        if self.drawn_rows != len(self.rows):
            replace_file(os.path.join(self.folder, 'curves.png'), lambda file: draw_curves(self.rows, file))
            self.drawn_at = time.monotonic()
            self.drawn_rows = len(self.rows)


def require_own(path, rows):
    """Raise UsageError if the log `path` does not begin with the rows of a resumed run, which would replace it."""
    if os.path.exists(path):
        with open(path, newline='') as file:
            first = next(csv.DictReader(file), None)
        # No two runs take the same seconds, to all digits, for an epoch.
        if first and first.get('seconds') not in [str(row['seconds']) for row in rows[:1]]:
            raise UsageError('%s is from another run; choose another folder with --output' % path)


def named(labels):
    """{column: label} -> {column: 'column: label'}."""
    return {column: '%s: %s' % (column, label) for column, label in labels.items()}


NOT_YET = 'from the adversarial stage on'
# The panels of curves.png: title, unit, {column: label}, whether the axis is logarithmic, and what a panel without
# curves says.
PANELS = (
    ('Fidelity', 'PSNR-Y in dB', {'psnr_y': 'held-out picture', 'val_psnr_y': 'validation'}, False, ''),
    ('Looks', 'LPIPS, lower is better', {'lpips': 'held-out picture'}, False, 'the weights of LPIPS are not there'),
    ('Content losses of G', 'loss', named(losses.CONTENT_CURVES), True, ''),
    ('Adversarial losses', 'loss', named(losses.ADVERSARIAL_CURVES), False, NOT_YET),
    ("D's opinion", '0 generated ... 1 real', losses.OPINION_CURVES, False, NOT_YET),
    ('Learning rate', 'of G', {'learning_rate': 'G'}, True, ''))


def draw_curves(rows, file):
    """Draw a run as a PNG into `file`: both stages one after the other, each curve raw (pale) and smoothed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    stages = [[row for row in rows if row['stage'] == stage] for stage in STAGES]
    start = max([row['update'] for row in stages[0]], default=0)
    # A page shows eight inches as about 800 pixels; 150 dpi keep the curves sharp on a screen with more pixels.
    figure = Figure(figsize=(8, 9.6), dpi=150, constrained_layout=True)
    FigureCanvasAgg(figure)
    for axes, (title, unit, curves, logarithmic, empty) in zip(figure.subplots(3, 2).flat, PANELS):
        for number, (column, label) in enumerate(curves.items()):
            colour = COLOURS.get(column, 'C%d' % (4 + number))
            for offset, stage in zip((0, start), stages):
                points = [(offset + row['update'], row[column]) for row in stage if column in row]
                if points:
                    updates, values = zip(*points)
                    axes.plot(updates, values, color=colour, alpha=0.3, linewidth=1, marker='.',
                              markersize=2 if len(values) > 20 else 6)
                    axes.plot(updates, smooth(values), color=colour, linewidth=1.8, label=label)
                    # Both stages share one entry in the legend.
                    label = None
        if stages[1]:
            axes.axvspan(start, start + stages[1][-1]['update'], color='C1', alpha=0.08, linewidth=0)
            axes.axvline(start, color='C1', linewidth=1)
        axes.set(title=title, xlabel='updates', ylabel=unit, yscale='log' if logarithmic and axes.lines else 'linear')
        axes.set_xlim(0, None)
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            # Below the panel, where it hides no curve.
            axes.legend(fontsize='small', loc='upper center', bbox_to_anchor=(0.5, -0.2), ncol=2, frameon=False)
        else:
            axes.text(0.5, 0.5, empty, ha='center', va='center', transform=axes.transAxes,
                      color='grey')
    if all(stages):
        figure.suptitle('pre-training, then adversarial training (shaded)', fontsize='medium', color='grey')
    figure.savefig(file, format='png')


def smooth(values):
    """Centred moving average: up to an eighth of the curve wide, narrower near the ends to stay centred."""
    half = len(values) // 16
    reaches = [min(half, place, len(values) - 1 - place) for place in range(len(values))]
    return [sum(values[place - reach:place + reach + 1]) / (2 * reach + 1) for place, reach in enumerate(reaches)]
