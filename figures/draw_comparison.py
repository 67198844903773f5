"""Draw README's figures comparison.png and worn.png: photographs that were not trained on, by pretrained/'s networks.

    python figures/draw_comparison.py

The photographs come from scikit-image and are reduced by bicubic as in evaluate.py; those of worn.png are then worn.
PSNR and LPIPS are of the whole pictures. The details are chosen by hand, to show what the networks do to fur, a face,
edges and writing.
"""
import io
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import matplotlib

matplotlib.use('Agg')

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from cpu import engine
from data_utils import embedded
from measuring import lpips_alex, metrics, pairs
from measuring.strips import FIGURE_DPI, framed, show_panel
from pictures.enlarge import upscale
from storage import networks


def jpeg(image, quality):
    """uint8 RGB [H, W, 3] after JPEG."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, 'JPEG', quality=quality)
    return np.asarray(Image.open(file))


def noisy(image):
    noise = np.random.RandomState(0).normal(0, 10, image.shape)
    return jpeg(np.clip(np.round(image + noise), 0, 255).astype(np.uint8), 75)


# {file: (networks, rows)}. A row is a photograph of scikit-image, (left, top) of its detail, and what its low
# resolution goes through: a title and a function.
FIGURES = {
    'comparison.png': (('SRResNet', 'SRGAN'), [(name, corner, '', np.copy) for name, corner in (
        ('chelsea.png', (120, 92)), ('astronaut.png', (172, 60)), ('coffee.png', (300, 100)),
        ('astronaut.png', (126, 336)))]),
    'worn.png': (('SRGAN', 'photo'), [
        ('astronaut.png', (172, 60), 'JPEG, quality 40', lambda lr: jpeg(lr, 40)),
        ('chelsea.png', (120, 92), 'JPEG, quality 75', lambda lr: jpeg(lr, 75)),
        ('coffee.png', (300, 100), 'noise and JPEG', noisy),
        ('astronaut.png', (126, 336), 'JPEG, quality 40', lambda lr: jpeg(lr, 40))]),
}
DETAIL = 96
# In pixels: the side of a panel, the room above it for its title and below for its caption, and between panels.
PANEL, TITLE, CAPTION, GAP = 288, 28, 24, 8


def main():
    for name, (titles, rows) in FIGURES.items():
        draw(os.path.join(ROOT, 'figures', name), titles, rows)


def draw(path, titles, rows):
    models = {title: engine.load(networks.find(title.lower())) for title in titles}
    measure = lpips_alex.Lpips(lpips_alex.read_weights())
    width = 6 * (PANEL + GAP) + GAP
    height = TITLE + len(rows) * (PANEL + CAPTION + GAP)
    figure = plt.figure(figsize=(width / FIGURE_DPI, height / FIGURE_DPI), dpi=FIGURE_DPI)
    for row, (name, corner, worn, wear) in enumerate(rows):
        lr, hr = pairs.read_pair(pairs.Pair(name, embedded(name)[0], None))
        lr = wear(lr)
        images = {'Bicubic': pairs.enlarge_bicubic(lr)}
        images.update((title, upscale(lr, model)) for title, model in models.items())
        box = corner + tuple(place + DETAIL for place in corner)
        panels = [('', np.asarray(framed(hr, box, PANEL / max(hr.shape[:2]))), ''),
                  ('Low resolution', lr.repeat(4, 0).repeat(4, 1), worn)]
        panels += [(title, image, '%.2f dB, LPIPS %.3f' % (metrics.psnr_y(image, hr), measure(image, hr)))
                   for title, image in images.items()]
        panels.append(('Original', hr, ''))
        bottom = height - TITLE - (row + 1) * (PANEL + CAPTION + GAP) + CAPTION
        for column, (title, image, caption) in enumerate(panels):
            show_panel(figure, image if column == 0 else image[box[1]:box[3], box[0]:box[2]],
                       GAP + column * (PANEL + GAP), bottom, PANEL, title if row == 0 else '', caption, title_size=12)
    figure.savefig(path, dpi=FIGURE_DPI)


if __name__ == '__main__':
    main()
