"""show_results.py as a user runs it: the figure of the samples in a folder."""
import os
import shutil
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from conftest import ROOT, photograph
from PIL import Image

import data_utils
import show_results
from measuring import html_page


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
    return [image[48 + 192, 12 + 192 + 396 * panel] for panel in range(panels)]


@pytest.mark.parametrize('arguments, name', [([], '10'), (['--epoch', '2'], '2'), (['--stage', 'init'], 'init_10'),
                                             (['--stage', 'init', '--epoch', '1'], 'init_1')])
def test_the_sample_that_is_asked_for_stands_beside_its_originals(arguments, name, show, samples):
    result = show(*arguments)
    assert result.returncode == 0 and result.stdout.strip() == 'output/results.png', result.stderr
    low, bicubic, generated, high = panel_centres(samples)
    assert np.abs(generated - LEVELS[name]).max() <= 2
    assert np.abs(high - np.asarray(Image.open(str(samples / 'epoch_2_384.jpg')))[192, 192]).max() <= 1


def test_a_timeline_shows_every_epoch_in_order(show, samples):
    assert show('--timeline').returncode == 0
    levels = [colour[0] for colour in panel_centres(samples)[2:-1]]
    assert np.abs(np.array(levels) - list(LEVELS.values())).max() <= 2


def test_samples_of_another_picture_are_not_shown_beside_this_one(show, samples):
    for name in ('2', '10'):
        data_utils.write_jpeg(str(samples / ('epoch_%s_384.jpg' % name)), photograph(384, 384, 1))
    assert show('--timeline').returncode == 0
    assert [round(panel.mean() / 30) * 30 for panel in panel_centres(samples)[2:-1]] == [120, 150]
    assert show('--timeline', '--stage', 'init').returncode == 0
    assert [round(panel.mean() / 30) * 30 for panel in panel_centres(samples)[2:-1]] == [60, 90]


def test_a_long_timeline_is_thinned_and_keeps_its_ends(show, samples):
    for epoch in range(11, 40):
        for kind in ('96', '384'):
            shutil.copy(str(samples / ('epoch_10_%s.jpg' % kind)), str(samples / ('epoch_%d_%s.jpg' % (epoch, kind))))
        data_utils.write_jpeg(str(samples / ('epoch_%d_G.jpg' % epoch)), np.full((384, 384, 3), 200, np.uint8))
    assert show('--timeline').returncode == 0
    levels = [colour[0] for colour in panel_centres(samples)[2:-1]]
    assert len(levels) == 10 and abs(levels[0] - 60) <= 2 and abs(levels[-1] - 200) <= 2


def test_a_sample_that_is_not_whole_is_passed_over_or_named(show, samples):
    (samples / 'epoch_10_96.jpg').unlink()
    assert show().returncode == 0 and np.abs(panel_centres(samples)[2] - LEVELS['2']).max() <= 2
    (samples / 'epoch_2_G.jpg').write_bytes(b'')
    os.utime(str(samples / 'epoch_2_G.jpg'), (5000, 5000))
    result = show()
    assert result.returncode == 2 and 'epoch_2_G.jpg' in result.stderr and len(result.stderr.splitlines()) == 1
    data_utils.write_jpeg(str(samples / 'epoch_init_1_96.jpg'), photograph(50, 96, 0))
    result = show('--stage', 'init', '--epoch', '1')
    assert result.returncode == 2 and 'epoch_init_1_96.jpg' in result.stderr and len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize('arguments, words', [
    (['--epoch', '7'], 'of epoch 7'), (['--output', 'nowhere'], 'nowhere'), (['--stage', 'third'], '--stage'),
    (['--epoch', 'x'], '--epoch')])
def test_a_mistake_is_one_line_and_exit_code_2(arguments, words, show, samples):
    result = show(*arguments)
    assert result.returncode == 2 and words in result.stderr and len(result.stderr.splitlines()) == 1


@pytest.fixture
def texts(samples):
    """texts(height, width): the figure of a sample of that low resolution -> its canvas and its texts with boxes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    def texts(height, width):
        lr, hr = photograph(height, width, 0), photograph(4 * height, 4 * width, 1)
        generated = [('Generated, pre-training epoch 1000000', hr // 2)] * 2
        figure = show_results.draw(html_page.views(lr, generated, hr))
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pictures = [axes.get_window_extent(canvas.get_renderer()) for axes in figure.axes]
        found = {text: text.get_window_extent(canvas.get_renderer())
                 for text in figure.findobj(matplotlib.text.Text) if text.get_text()}
        matplotlib.pyplot.close(figure)
        return canvas.get_width_height(), list(found.values()), pictures
    matplotlib.use('Agg')
    return texts


@pytest.mark.parametrize('size', [(1, 1), (1, 96), (96, 1), (2, 3), (3, 96), (25, 7), (96, 96), (384, 384)])
def test_no_text_is_clipped_or_lies_on_another_or_on_a_picture(size, texts):
    (width, height), boxes, pictures = texts(*size)
    assert len(boxes) >= 5
    for index, box in enumerate(boxes):
        assert box.x0 >= 2 and box.y0 >= 2 and box.x1 <= width - 2 and box.y1 <= height - 2
        for other in boxes[:index] + pictures:
            apart_x = min(box.x1, other.x1) - max(box.x0, other.x0) < 1
            assert apart_x or min(box.y1, other.y1) - max(box.y0, other.y0) < 1


def test_the_detail_is_the_same_place_of_each_picture_and_the_one_that_bicubic_gets_most_wrong():
    """A black square with white stripes alone is what bicubic cannot draw: it fills the lower row."""
    hr = np.full((384, 384, 3), 128, np.uint8)
    hr[96:192:2, 192:288] = 255
    hr[97:192:2, 192:288] = 0
    lr = data_utils.bicubic_resize(hr, 96, 96)
    matplotlib.use('Agg')
    figure = show_results.draw(html_page.views(lr, [('Generated, GAN epoch 1', hr)], hr))
    low, bicubic, generated, high = [axes.images[0].get_array() for axes in figure.axes[4:]]
    matplotlib.pyplot.close(figure)
    assert np.array_equal(generated, hr[96:192, 192:288]) and np.array_equal(high, generated)
    assert np.array_equal(low, lr[24:48, 48:72]) and bicubic.shape == high.shape


def test_psnr_stands_under_bicubic_and_generated_alone():
    from skimage.metrics import peak_signal_noise_ratio
    hr, generated = photograph(64, 64, 0), photograph(64, 64, 1)
    matplotlib.use('Agg')
    figure = show_results.draw(html_page.views(hr[::4, ::4], [('Generated, GAN epoch 1', generated)], hr))
    captions = [''.join(text.get_text() for text in axes.texts) for axes in figure.axes[:4]]
    matplotlib.pyplot.close(figure)
    luma = [(image[4:-4, 4:-4] @ np.array([65.481, 128.553, 24.966]) / 255 + 16) for image in (hr, generated)]
    assert captions[0] == captions[3] == '' and captions[1].endswith(' dB')
    assert float(captions[2].split()[1]) == pytest.approx(peak_signal_noise_ratio(*luma, data_range=255), abs=0.006)


def test_in_a_notebook_the_figure_is_shown_inline(samples, tmp_path):
    manager = pytest.importorskip('jupyter_client.manager', reason='no Jupyter is here')
    pytest.importorskip('ipykernel', reason='no Jupyter is here')
    environment = {name: value for name, value in os.environ.items() if name not in ('DISPLAY', 'WAYLAND_DISPLAY')}
    kernel = manager.KernelManager()
    kernel.start_kernel(cwd=str(tmp_path), env=environment)
    client = kernel.blocking_client()
    shown = []
    try:
        client.start_channels()
        client.wait_for_ready(timeout=60)
        client.execute_interactive('%%run %s' % os.path.join(ROOT, 'show_results.py'), timeout=60,
                                   output_hook=lambda message: shown.append(message['content']))
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
    assert any('image/png' in content.get('data', {}) for content in shown), shown
