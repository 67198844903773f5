"""Weights for the VGG19 of tests/tiny.py, as Paddle keeps them."""
import numpy as np

from storage import persistables

FILTERS = (4, 4, 8, 8, 8)
GROUPS = (2, 2, 4, 4, 4)


def write(folder):
    rng, channels = np.random.RandomState(0), 3
    for block, (filters, groups) in enumerate(zip(FILTERS, GROUPS), start=1):
        for layer in range(1, groups + 1):
            weights = rng.normal(0, (2 / (9 * channels)) ** 0.5, (filters, channels, 3, 3)).astype(np.float32)
            persistables.write_variable(folder, 'vgg19_conv%d_%d_weights' % (block, layer), weights)
            channels = filters
