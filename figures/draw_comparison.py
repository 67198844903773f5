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
from measuring import lpips_alex, metrics, pairs, strips
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


def draw(path, titles, rows):
    models = {title: engine.load(networks.find(title.lower()), 'fp32') for title in titles}
    measure = lpips_alex.Lpips(lpips_alex.read_weights())
    panels = []
    for name, corner, worn, wear in rows:
        lr, hr = pairs.read_pair(pairs.Pair(name, embedded(name)[0], None))
        lr = wear(lr)
        images = {'Bicubic': pairs.enlarge_bicubic(lr), **{title: upscale(lr, models[title]) for title in titles}}
        scores = [{'psnr_y': metrics.psnr_y(image, hr), 'lpips': measure(image, hr)} for image in images.values()]
        box = corner + tuple(place + strips.DETAIL for place in corner)
        panels.append(strips.strip(lr, hr, images, scores, box, worn))
    figure = plt.figure()
    strips.draw(figure, ['', 'Low resolution', *images, 'Original'], panels)
    figure.savefig(path, dpi=strips.FIGURE_DPI)


if __name__ == '__main__':
    for name, (titles, rows) in FIGURES.items():
        draw(os.path.join(ROOT, 'figures', name), titles, rows)
