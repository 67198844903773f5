"""The log of a run: a row an epoch in log.csv, and the curves drawn from it."""
import csv
import math
import os
import time

from visual_log import VisualLog

COLUMNS = ('stage', 'epoch', 'update', 'l_g_pix', 'l_g_percep', 'l_g_phase', 'l_g_gan', 'g_loss', 'l_d_real',
           'l_d_fake', 'd_real', 'd_fake', 'psnr_y', 'val_psnr_y', 'val_ssim_y', 'learning_rate', 'seconds', 'waited',
           'pictures_per_second')
SECONDS_BETWEEN_DRAWINGS = 20


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
        path = os.path.join(self.folder, 'log.csv')
        with open(path + '.new', 'w', newline='') as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)
        os.replace(path + '.new', path)

    def draw(self):
        path = os.path.join(self.folder, 'curves.png')
        draw_curves(self.rows, path + '.new')
        os.replace(path + '.new', path)
        self.drawn = time.monotonic()


def draw_curves(rows, path):
    """Draw the course of a run, both stages on one axis of updates, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    pre_training = max([row['update'] for row in rows if row['stage'] == 'init'], default=0)
    updates = [row['update'] + (pre_training if row['stage'] == 'gan' else 0) for row in rows]
    panels = (
        ('Quality of the held-out picture', 'PSNR-Y in dB', {'psnr_y': 'generated'}, False),
        ('Content losses of G', 'loss', {'l_g_pix': 'l_g_pix (pixels)', 'l_g_percep': 'l_g_percep (VGG19)'}, True),
        ('Adversarial losses', 'loss', {'l_g_gan': 'l_g_gan', 'l_d_real': 'l_d_real', 'l_d_fake': 'l_d_fake'}, False),
        ("D's opinion: 1 real, 0 generated", 'mean over an epoch',
         {'d_real': 'of real pictures', 'd_fake': "of G's pictures"}, False))

    figure = Figure(figsize=(10, 6.4), dpi=100, constrained_layout=True)
    FigureCanvasAgg(figure)
    for axes, (title, unit, curves, logarithmic) in zip(figure.subplots(2, 2).flat, panels):
        for column, label in curves.items():
            points = [(update, row[column]) for update, row in zip(updates, rows) if row.get(column) not in (None, '')]
            if points:
                axes.plot(*zip(*points), label=label, marker='.' if len(points) < 40 else None)
        if pre_training and updates[-1] > pre_training:
            axes.axvline(pre_training, color='grey', linestyle=':', label='D joins in')
        if logarithmic and axes.lines:
            axes.set_yscale('log')
        axes.set_title(title)
        axes.set_xlabel('updates')
        axes.set_ylabel(unit)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize='small')
        else:
            axes.text(0.5, 0.5, 'from the adversarial stage on', ha='center', va='center', transform=axes.transAxes,
                      color='grey')
    figure.savefig(path, format='png')
