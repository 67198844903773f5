"""PSNR and SSIM on luma against scikit-image and against SSIM's own formula."""
import math
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from conftest import ROOT, photograph
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from measuring.metrics import luma, psnr_y, ssim_y


@pytest.fixture
def pictures():
    """A picture and a worse one, uint8 [45, 38, 3]."""
    reference = photograph(45, 38, 1)
    noise = np.random.RandomState(2).randint(-20, 21, reference.shape)
    return np.clip(reference + noise, 0, 255).astype(np.uint8), reference


def inner(image):
    return rgb2ycbcr(image)[4:-4, 4:-4, 0]


def test_luma_is_that_of_bt_601():
    ends = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0]]], np.uint8)
    assert luma(ends)[0] == pytest.approx([16, 235, 16 + 65.481])
    assert luma(photograph(9, 7, 0)) == pytest.approx(rgb2ycbcr(photograph(9, 7, 0))[..., 0])


def test_psnr_equals_scikit_image(pictures):
    image, reference = pictures
    assert psnr_y(image, reference) == pytest.approx(
        peak_signal_noise_ratio(inner(reference), inner(image), data_range=255), abs=1e-9)


def test_ssim_equals_scikit_image(pictures):
    image, reference = pictures
    assert ssim_y(image, reference) == pytest.approx(structural_similarity(
        inner(image), inner(reference), data_range=255, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False), abs=1e-9)


def test_ssim_equals_its_formula(pictures):
    x, y = [inner(image) for image in pictures]
    window = cv2.getGaussianKernel(11, 1.5)

    def blur(values):
        return cv2.filter2D(values, -1, window @ window.T)[5:-5, 5:-5]

    mean_x, mean_y = blur(x), blur(y)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * (blur(x * y) - mean_x * mean_y) + c2)
                  / (mean_x ** 2 + mean_y ** 2 + c1)
                  / (blur(x * x) - mean_x ** 2 + blur(y * y) - mean_y ** 2 + c2))
    assert ssim_y(*pictures) == pytest.approx(similarity.mean(), abs=1e-9)


@pytest.mark.filterwarnings('error')
def test_equal_pictures_have_infinite_psnr_and_ssim_1(pictures):
    assert psnr_y(pictures[0], pictures[0]) == math.inf
    assert ssim_y(pictures[0], pictures[0]) == pytest.approx(1)


@pytest.mark.parametrize('measure', [psnr_y, ssim_y])
def test_four_pixels_of_each_side_do_not_count_and_the_fifth_does(pictures, measure):
    image, reference = pictures
    for turn in range(4):
        worse = np.rot90(image, turn).copy()
        worse[:4] = 0
        assert measure(np.rot90(worse, -turn), reference) == measure(image, reference)
        worse[4] = 0
        assert measure(np.rot90(worse, -turn), reference) < measure(image, reference)


@pytest.mark.parametrize('measure', [psnr_y, ssim_y])
def test_pictures_of_different_or_too_small_shapes_are_refused(measure):
    with pytest.raises(ValueError, match='different shapes'):
        measure(photograph(40, 40, 0), photograph(40, 44, 0))
    with pytest.raises(ValueError, match='too small'):
        measure(photograph(40, 8, 0), photograph(40, 8, 0))


def test_the_module_needs_neither_paddle_nor_the_project():
    code = ('import sys; import measuring.metrics; '
            'print([n for n in sys.modules if n in ("paddle", "cli", "data_utils")])')
    told = subprocess.run([sys.executable, '-c', code], cwd=ROOT, stdout=subprocess.PIPE, universal_newlines=True,
                          env=dict(os.environ, PYTHONPATH=''))
    assert told.stdout.strip() == '[]'
