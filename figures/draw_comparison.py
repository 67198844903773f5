"""Draw README's figure comparison.png: photographs that were not trained on, by the networks of pretrained/.

    python figures/draw_comparison.py

The photographs come from scikit-image and are reduced by bicubic as in evaluate.py. PSNR and LPIPS are of the whole
pictures. The details are chosen by hand, to show what the networks do to fur, a face, edges and writing.
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
from measuring.strips import FIGURE_DPI, framed, show_panel
from pictures.enlarge import upscale
from storage import networks

PICTURE = os.path.join(ROOT, 'figures', 'comparison.png')
# A photograph of scikit-image, and (left, top) of its detail.
ROWS = (('chelsea.png', (120, 92)), ('astronaut.png', (172, 60)), ('coffee.png', (300, 100)),
        ('astronaut.png', (126, 336)))
DETAIL = 96
# In pixels: the side of a panel, the room above it for its title and below for its caption, and between panels.
PANEL, TITLE, CAPTION, GAP = 288, 28, 24, 8


def main():
    models = {name: engine.load(networks.find(name.lower())) for name in ('SRResNet', 'SRGAN')}
    measure = lpips_alex.Lpips(lpips_alex.read_weights())
    width = 6 * (PANEL + GAP) + GAP
    height = TITLE + len(ROWS) * (PANEL + CAPTION + GAP)
    figure = plt.figure(figsize=(width / FIGURE_DPI, height / FIGURE_DPI), dpi=FIGURE_DPI)
    for row, (name, corner) in enumerate(ROWS):
        lr, hr = pairs.read_pair(pairs.Pair(name, embedded(name)[0], None))
        images = {'Bicubic': pairs.enlarge_bicubic(lr)}
        images.update((title, upscale(lr, model)) for title, model in models.items())
        box = corner + tuple(place + DETAIL for place in corner)
        panels = [('', np.asarray(framed(hr, box, PANEL / max(hr.shape[:2]))), ''),
                  ('Low resolution', lr.repeat(4, 0).repeat(4, 1), '')]
        panels += [(title, image, '%.2f dB, LPIPS %.3f' % (metrics.psnr_y(image, hr), measure(image, hr)))
                   for title, image in images.items()]
        panels.append(('Original', hr, ''))
        bottom = height - TITLE - (row + 1) * (PANEL + CAPTION + GAP) + CAPTION
        for column, (title, image, caption) in enumerate(panels):
            show_panel(figure, image if column == 0 else image[box[1]:box[3], box[0]:box[2]],
                       GAP + column * (PANEL + GAP), bottom, PANEL, title if row == 0 else '', caption, title_size=12)
    figure.savefig(PICTURE, dpi=FIGURE_DPI)


if __name__ == '__main__':
    main()
