"""Draw the figure of README, comparison.png: what the networks of pretrained/ make of photographs not trained on.

    python figures/draw_comparison.py

The photographs are scikit-image's, reduced by bicubic as evaluate.py does, and measured whole. The details are chosen
by hand, to show what the networks do to fur, a face, edges and writing.
"""
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import matplotlib

matplotlib.use('Agg')

import matplotlib.pyplot as plt
import numpy as np

from cpu import engine
from data_utils import embedded
from measuring import lpips_alex, metrics, pairs
from measuring.strips import framed
from pictures.enlarge import upscale
from storage import networks

PICTURE = os.path.join(ROOT, 'figures', 'comparison.png')
# A photograph of scikit-image, and the left and top of its detail.
ROWS = (('chelsea.png', (120, 92)), ('astronaut.png', (172, 60)), ('coffee.png', (300, 100)),
        ('astronaut.png', (126, 336)))
DETAIL = 96
# In pixels.
PANEL, TITLE, CAPTION, GAP, DPI = 288, 28, 24, 8, 100


def main():
    models = {name: engine.load(networks.find(name.lower())) for name in ('SRResNet', 'SRGAN')}
    measure = lpips_alex.Lpips(lpips_alex.read_weights())
    width, height = 6 * (PANEL + GAP) + GAP, TITLE + len(ROWS) * (PANEL + CAPTION + GAP)
    figure = plt.figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    for row, (name, corner) in enumerate(ROWS):
        lr, hr = pair(embedded(name)[0])
        images = {'Bicubic': pairs.enlarge_bicubic(lr)}
        images.update((title, upscale(lr, model)) for title, model in models.items())
        box = corner + tuple(place + DETAIL for place in corner)
        panels = [('', np.asarray(framed(hr, box, PANEL / max(hr.shape[:2]))), ''),
                  ('Low resolution', lr.repeat(4, 0).repeat(4, 1), '')]
        panels += [(title, image, '%.2f dB, LPIPS %.3f' % (metrics.psnr_y(image, hr), measure(image, hr)))
                   for title, image in images.items()]
        panels += [('Original', hr, '')]
        for column, (title, image, caption) in enumerate(panels):
            left, bottom = GAP + column * (PANEL + GAP), height - TITLE - (row + 1) * (PANEL + CAPTION + GAP) + CAPTION
            axes = figure.add_axes([left / width, bottom / height, PANEL / width, PANEL / height])
            axes.imshow(image if column == 0 else image[box[1]:box[3], box[0]:box[2]], interpolation='nearest')
            axes.axis('off')
            if row == 0:
                axes.set_title(title, fontsize=12, fontweight='bold')
            axes.annotate(caption, (0.5, 0), (0, -4), 'axes fraction', 'offset points', fontsize=11, ha='center',
                          va='top')
    figure.savefig(PICTURE, dpi=DPI)


def pair(path):
    """-> (lr, hr) uint8 RGB, as evaluate.py takes a picture without a partner."""
    return pairs.read_pair(pairs.Pair(os.path.basename(path), path, None))


if __name__ == '__main__':
    main()
