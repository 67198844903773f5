"""PSNR and SSIM of a picture against its original, by the protocol of the super-resolution papers."""
import math

import numpy as np

# ITU-R BT.601 for 8-bit RGB: black is 16, white is 235 (MATLAB's rgb2ycbcr, not rounded).
LUMA_WEIGHTS = np.array([65.481, 128.553, 24.966]) / 255.0
LUMA_BLACK = 16.0

SSIM_WINDOW = 11


def luma(image):
    """The luma Y of ITU-R BT.601: uint8 RGB [H, W, 3] -> float64 [H, W] in 16..235, not rounded."""
    return image @ LUMA_WEIGHTS + LUMA_BLACK


def psnr_y(image, reference, border=4):
    """Peak signal-to-noise ratio on luma, in dB: 10 log10(255^2 / mean squared error).

    image, reference: uint8 RGB [H, W, 3]. border: pixels cut from each side, by convention as many as the scale.
    Higher is better; equal pictures have inf. Raises ValueError if the shapes differ or nothing is left inside the
    border. Reference: SRGAN's paper, section 3.1; BasicSR's calculate_psnr.
    """
    y, y_reference = inner_luma(image, reference, border, 1)
    error = np.mean((y - y_reference) ** 2)
    return float(10 * np.log10(255 ** 2 / error)) if error else math.inf


def ssim_y(image, reference, border=4):
    """Structural similarity on luma, at most 1; equal pictures have 1.

    image, reference: uint8 RGB [H, W, 3]. border: pixels cut from each side. The mean over all windows inside the
    picture, with a Gaussian window of 11x11 pixels and sigma 1.5, K1 0.01, K2 0.03 and range 255.
    Raises ValueError if the shapes differ or less than one window is left inside the border.
    Reference: Wang et al., IEEE TIP 2004; scikit-image's function gives the values of their MATLAB code.
    """
    # Here, because it takes 0.2 s: it imports SciPy's statistics, and most trainings measure no SSIM.
    from skimage.metrics import structural_similarity
    y, y_reference = inner_luma(image, reference, border, SSIM_WINDOW)
    return float(structural_similarity(
        y, y_reference, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False))


def inner_luma(image, reference, border, minimum):
    """-> (luma of image, luma of reference), without the border. ValueError if a side has less than `minimum` left."""
    if image.shape != reference.shape:
        raise ValueError('pictures of different shapes: %s and %s' % (image.shape, reference.shape))
    height, width = image.shape[:2]
    if min(height, width) - 2 * border < minimum:
        raise ValueError('%dx%d is too small: at least %d pixels a side' % (width, height, minimum + 2 * border))
    inner = np.s_[border:height - border, border:width - border]
    return luma(image[inner]), luma(reference[inner])
