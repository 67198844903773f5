"""How worn a picture is: whether JPEG compression has left its mark in the pixels."""
import cv2
import numpy as np

BLOCK = 8
# A photograph that was never compressed at its size has 0.04 at most.
WORN = 0.1
# The side of the middle part that is looked at, in pixels.
LOOKED_AT = 256
# So many blocks say nothing.
FEW = 8
# The matrix that turns 8 pixels into the amplitudes of 8 waves.
WAVES = cv2.dct(np.eye(BLOCK, dtype=np.float32), flags=cv2.DCT_ROWS).T


def is_worn(image):
    """Whether a picture, uint8 RGB [H, W, 3], was JPEG at this size: by its pixels, whatever file holds them now."""
    return compression(image) > WORN


def compression(image):
    """How many more of the finest waves vanish on one grid of blocks than on most others, from 0 to 1.

    JPEG writes a block of 8 x 8 pixels as a sum of 64 waves and rounds their amplitudes, the finest ones to 0. On
    another grid the same picture has no such zeros. It may have been cropped since, so all 64 grids are tried.
    """
    top, left = [max(0, size - LOOKED_AT) // 2 for size in image.shape[:2]]
    part = image[top:top + LOOKED_AT, left:left + LOOKED_AT]
    luma = part.astype(np.float32) @ np.float32([0.299, 0.587, 0.114])
    if min(luma.shape) < 2 * BLOCK:
        return 0.0
    shares = [vanished(luma[y:, x:]) for y in range(BLOCK) for x in range(BLOCK)]
    return float(np.max(shares) - np.median(shares))


def vanished(luma):
    """The share of the finest waves with an amplitude below half a grey level, on the grid that begins at the corner.

    Blocks of one colour do not count: what is drawn has many, compressed or not. 0 if there are hardly any others.
    """
    height, width = [size // BLOCK for size in luma.shape]
    blocks = luma[:height * BLOCK, :width * BLOCK].reshape(height, BLOCK, width, BLOCK).swapaxes(1, 2)
    blocks = blocks[np.ptp(blocks, axis=(2, 3)) > 1]
    return np.mean(np.abs(WAVES[3:] @ blocks @ WAVES[3:].T) < 0.5) if len(blocks) > FEW else 0.0
