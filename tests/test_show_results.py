"""show_results.py as a user runs it: the figure of the samples in a folder."""
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, photograph
from PIL import Image

import data_utils


@pytest.fixture
def show(tmp_path):
    def show(*arguments):
        environment = dict(os.environ, DISPLAY='', WAYLAND_DISPLAY='')
        return subprocess.run(
            [sys.executable, os.path.join(ROOT, 'show_results.py')] + list(arguments), env=environment,
            cwd=str(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    return show


LEVELS = {'init_1': 60, 'init_10': 90, '2': 120, '10': 150}


@pytest.fixture
def samples(tmp_path):
    """Samples of two stages, the generated ones of one grey each; the newest is GAN epoch 10."""
    output = tmp_path / 'output'
    output.mkdir()
    for age, (name, level) in enumerate(LEVELS.items()):
        for kind, image in (('96', photograph(96, 96, 0)), ('384', photograph(384, 384, 0)),
                            ('G', np.full((384, 384, 3), level, np.uint8))):
            path = str(output / ('epoch_%s_%s.jpg' % (name, kind)))
            data_utils.write_jpeg(path, image)
            os.utime(path, (1000 + age, 1000 + age))
    return output


def panel_centres(output):
    """The colours in the middles of the panels of results.png."""
    image = np.asarray(Image.open(str(output / 'results.png')).convert('RGB')).astype(int)
    panels = round(image.shape[1] / 396)
    return [image[image.shape[0] - 200, 12 + 192 + 396 * panel] for panel in range(panels)]


@pytest.mark.parametrize('arguments, name', [([], '10'), (['--epoch', '2'], '2'), (['--stage', 'init'], 'init_10'),
                                             (['--stage', 'init', '--epoch', '1'], 'init_1')])
def test_the_sample_that_is_asked_for_stands_beside_its_originals(arguments, name, show, samples):
    result = show(*arguments)
    assert result.returncode == 0 and result.stdout.strip() == 'output/results.png', result.stderr
    low, high, generated = panel_centres(samples)
    assert np.abs(generated - LEVELS[name]).max() <= 2
    assert np.abs(high - np.asarray(Image.open(str(samples / 'epoch_2_384.jpg')))[184, 192]).max() <= 20


def test_a_timeline_shows_every_epoch_in_order(show, samples):
    assert show('--timeline').returncode == 0
    levels = [colour[0] for colour in panel_centres(samples)[1:-1]]
    assert np.abs(np.array(levels) - list(LEVELS.values())).max() <= 2


def test_a_long_timeline_is_thinned_and_keeps_its_ends(show, samples):
    for epoch in range(11, 40):
        for kind in ('96', '384', 'G'):
            path = str(samples / ('epoch_%d_%s.jpg' % (epoch, kind)))
            data_utils.write_jpeg(path, np.full((384, 384, 3), 200, np.uint8))
    assert show('--timeline').returncode == 0
    levels = [colour[0] for colour in panel_centres(samples)[1:-1]]
    assert len(levels) == 10 and abs(levels[0] - 60) <= 2 and abs(levels[-1] - 200) <= 2


def test_a_sample_that_is_not_whole_is_passed_over_or_named(show, samples):
    (samples / 'epoch_10_96.jpg').unlink()
    assert show().returncode == 0 and np.abs(panel_centres(samples)[2] - LEVELS['2']).max() <= 2
    (samples / 'epoch_2_G.jpg').write_bytes(b'')
    os.utime(str(samples / 'epoch_2_G.jpg'), (5000, 5000))
    result = show()
    assert result.returncode == 2 and 'epoch_2_G.jpg' in result.stderr and len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize('arguments, words', [
    (['--epoch', '7'], 'of epoch 7'), (['--output', 'nowhere'], 'nowhere'), (['--stage', 'third'], '--stage'),
    (['--epoch', 'x'], '--epoch')])
def test_a_mistake_is_one_line_and_exit_code_2(arguments, words, show, samples):
    result = show(*arguments)
    assert result.returncode == 2 and words in result.stderr and len(result.stderr.splitlines()) == 1
