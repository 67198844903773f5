"""How worn a picture is: how deep a mark JPEG compression has left in the pixels."""
import cv2
import numpy as np

BLOCK = 8
# The mean step of JPEG's usual table for the brightness: 11.5 at quality 90.
COARSE = 10.5
# Reduced photographs have 0.03 at most if they were never JPEG, about 0.1 after JPEG of quality 95, 0.23 after 90, 0.32
# after 85 and 0.4 after 75. Up to quality 90 `photo` is the better network, above it srgan.
WORN = 0.2
# A part of this side in pixels is enough to look at.
LOOKED_AT = 256
# So many blocks say nothing.
FEW = 8
# The matrix that turns 8 pixels into the amplitudes of the middle three of 8 waves.
MIDDLE = cv2.dct(np.eye(BLOCK, dtype=np.float32), flags=cv2.DCT_ROWS).T[2:5]


def is_worn(image, steps=None):
    """Whether a picture, uint8 RGB [H, W, 3], is or was JPEG of quality 90 or less, whatever file holds its pixels now.

    steps: if its file is JPEG, the steps to which it rounds the brightness's amplitudes. If these are fine or unknown,
    the pixels tell; but not those of drawings on white paper, where clipping hides what JPEG has rounded.
    """
    return np.mean(steps or 0) > COARSE or compression(image) > WORN


def compression(image):
    """How many more of the middle waves vanish on one grid of blocks than on most others, from 0 to 1.

    JPEG writes a block of 8 x 8 pixels as a sum of 64 waves and rounds their amplitudes. The more it compresses, the
    coarser are the waves that it rounds to 0; at high quality these are only the finest. On another grid the same
    picture has no such zeros. It may have been cropped since, so all 64 grids are tried.
    """
    luma = image.astype(np.float32) @ np.float32([0.299, 0.587, 0.114])
    if min(luma.shape) < 2 * BLOCK:
        return 0.0
    shares = [vanished(luma[y:, x:]) for y in range(BLOCK) for x in range(BLOCK)]
    return float(np.max(shares) - np.median(shares))


def vanished(luma):
    """The share of the middle waves with an amplitude below one grey level, on the grid that begins at the corner.

    Blocks of one colour do not count: what is drawn has many, compressed or not. 0 if there are hardly any others.
    """
    height, width = [size // BLOCK for size in luma.shape]
    blocks = luma[:height * BLOCK, :width * BLOCK].reshape(height, BLOCK, width, BLOCK).swapaxes(1, 2)
    blocks = blocks[np.ptp(blocks, axis=(2, 3)) > 1]
    return np.mean(np.abs(MIDDLE @ blocks @ MIDDLE.T) < 1) if len(blocks) > FEW else 0.0
