"""The curves of a run."""
import numpy as np
from PIL import Image

from training import log


def test_smoothing_keeps_a_straight_course_to_its_ends_and_takes_noise_out():
    line = np.linspace(3, -1, 80)
    assert np.allclose(log.smooth(line), line)
    noise = np.random.RandomState(0).normal(size=800)
    smoothed = np.array(log.smooth(noise))
    assert smoothed[50:-50].std() < 0.2 and smoothed[0] == noise[0]
    assert log.smooth([5.0]) == [5.0]


def test_curves_of_any_length_are_drawn(tmp_path):
    """One epoch, a whole run, and a run without pre-training: each panel that has figures has ink in it."""
    init = [{'stage': 'init', 'epoch': epoch, 'update': 10 * epoch, 'l_g_pix': 1 / epoch, 'psnr_y': 20 + epoch,
             'learning_rate': 1e-4} for epoch in range(1, 40)]
    gan = [{'stage': 'gan', 'epoch': epoch, 'update': 10 * epoch, 'l_g_pix': 0.1, 'l_g_gan': 0.7, 'l_d_real': 0.6,
            'l_d_fake': 0.5, 'd_real': 0.6, 'd_fake': 0.4, 'psnr_y': 50.0, 'val_psnr_y': 51.0,
            'lpips': 0.1, 'learning_rate': 1e-4} for epoch in range(1, 9)]
    path = tmp_path / 'curves.png'
    for rows, filled in ((init[:1], '101001'), (init + gan, '111111'), (gan, '111111')):
        log.draw_curves(rows, str(path))
        image = np.asarray(Image.open(str(path)).convert('HSV'))
        height, width = image.shape[0] // 3, image.shape[1] // 2
        panels = [image[y:y + height, x:x + width, 1] for y in (0, height, 2 * height) for x in (0, width)]
        assert [(panel > 120).sum() > 40 for panel in panels] == [panel == '1' for panel in filled]


def test_curves_are_drawn_again_for_new_rows_alone(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(log, 'draw_curves', lambda rows, file: drawn.append(len(rows)))
    run_log = log.RunLog(str(tmp_path), [{'stage': 'init', 'epoch': 1}])
    for epoch in (2, 3):
        run_log.add({'stage': 'init', 'epoch': epoch})
    run_log.draw()
    run_log.draw()
    assert drawn == [2, 3]
