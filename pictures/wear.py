"""How worn a picture is: what JPEG, noise and blur have left in its pixels."""
import cv2
import numpy as np

from data_utils import middle

BLOCK = 8
# The mean step of JPEG's usual table for the brightness: 11.5 at quality 90, 10.4 at 91.
COARSE = 10.5
# Reduced photographs have 0.03 at most if they were never JPEG, about 0.1 after JPEG of quality 95, 0.23 after 90, 0.32
# after 85 and 0.4 after 75. Up to quality 90 `photo` is the better network. At 92 srgan has 0.4 dB more, though LPIPS,
# from which `photo` has learnt, prefers `photo` up to 95.
COMPRESSED = 0.2
# Above this are 1 % of 660 drawn pages that were never JPEG. By this and the other measures, 93, 90, 83 and 78 % of 300
# are worn after JPEG of quality 40, 75, 90 and 95. For drawings `photo` is the better network at any quality.
ON_GRID = 0.3
# So many pixels of a drawing are near its ground. Of 452 reduced photographs after JPEG of quality 92 or 95, which
# srgan enlarges, 1 % pass for a drawing with its flat areas on the grid.
DRAWING = 0.45
# Above this are, of 213 reduced photographs, 1 as it is, 88 % with colour noise of 3 grey levels, 95 % with 4, and 73 %
# with grey noise of 5. From 2 on at the latest `photo` is the better network, for photographs and drawings.
NOISY = 1.5
# Noise is at least this strong in fine waves, beside rather coarse ones.
WHITE = 0.68
# Below this are none of these photographs as they are, 76 % of them if they were blurred by 0.5 pixels, where both
# networks are equally good, and all if by 0.75 pixels, where `photo` is better. Edges of drawings stay sharper: 17 and
# 98 % of 60.
SHARP = 0.16
# Blocks whose coarse waves have less power have no edge in them.
EDGE = 500
# The middle of this side in pixels is looked at; for the vanished waves a smaller one is enough.
LOOKED_AT = 1024
FOR_GRID = 256
# So many blocks say nothing.
FEW = 16
# A flat area is so many steps of 0 in a row, and ends with a step of fewer grey levels than FAINT. Of few ends many may
# lie at one place by chance: so many are added to them.
FLAT = 4
FAINT = 12
FEW_ENDS = 8
# JPEG's YCbCr without its offsets.
COLOURS = np.float32([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
# The matrix that turns 8 pixels into the amplitudes of 8 waves, from coarse to fine.
WAVES = cv2.dct(np.eye(BLOCK, dtype=np.float32), flags=cv2.DCT_ROWS).T
# How fine each of a block's 64 waves is: the larger of its number down and its number across.
FINENESS = np.maximum.outer(np.arange(BLOCK), np.arange(BLOCK))
RATHER_COARSE = (FINENESS == 2) | (FINENESS == 3)


def is_worn(image, steps=None):
    """Whether a picture, uint8 RGB [H, W, 3], was compressed, is noisy or out of focus, whatever file holds it now.

    steps: if its file is JPEG, the steps to which it rounds the brightness's amplitudes. If these are fine or unknown,
    the pixels tell.
    """
    return bool(np.mean(steps or 0) > COARSE or compression(image) > COMPRESSED or flat_ends(image) > ON_GRID
                or noise(image) > NOISY or sharpness(image) < SHARP)


def compression(image):
    """How many more of the middle waves vanish on one grid of blocks than on most others, from 0 to 1.

    JPEG writes a block of 8 x 8 pixels as a sum of 64 waves and rounds their amplitudes. The more it compresses, the
    coarser are the waves that it rounds to 0; at high quality these are only the finest. On another grid the same
    picture has no such zeros. It may have been cropped since, so all 64 grids are tried.
    """
    luma = image[middle(*image.shape[:2], FOR_GRID)] @ COLOURS[0]
    if min(luma.shape) < 2 * BLOCK:
        return 0.0
    shares = [vanished(luma[y:, x:]) for y in range(BLOCK) for x in range(BLOCK)]
    return float(np.max(shares) - np.median(shares))


def vanished(luma):
    """The share of the middle waves with an amplitude below one grey level, on the grid that begins at the corner."""
    blocks = blocks_of(luma)
    waves = WAVES[2:5]
    return np.mean(np.abs(waves @ blocks @ waves.T) < 1) if len(blocks) else 0.0


def flat_ends(image):
    """The share of the ends of flat areas that lie at one place of 8; 1/8 if they lie anywhere. 0 for photographs.

    In drawings, JPEG leaves the blocks that a line or a letter touches uneven, and the flat ground begins again with
    the next block. Lines of a table may lie at one place of 8 too, but hardly both across and down: the smaller share
    counts. White paper hides JPEG from `compression`, since clipping takes half of each wave, but not from this.
    """
    if min(image.shape[:2]) < 2 * BLOCK or not is_drawing(image):
        return 0.0
    image = image.astype(np.int16)
    return min(ends_at_one_place(image), ends_at_one_place(image.swapaxes(0, 1)))


def is_drawing(image):
    """Whether most pixels are near plain ground: pixels that equal the next ones and have one of its four colours.

    Skies and shades of photographs have equal pixels too, but of many colours.
    """
    colours = image @ np.int32([1 << 16, 1 << 8, 1])
    here = colours[:-1, :-1]
    equal = (here == colours[1:, :-1]) & (here == colours[:-1, 1:])
    found, counts = np.unique(here[equal], return_counts=True)
    ground = equal & np.isin(here, found[np.argsort(counts)[-4:]])
    return cv2.dilate(ground.astype(np.uint8), np.ones((2 * BLOCK + 1, 2 * BLOCK + 1), np.uint8)).mean() > DRAWING


def ends_at_one_place(image):
    """The same across alone. A flat area ends with a faint step that is followed by another step."""
    steps = np.abs(np.diff(image, axis=1)).max(2)
    flat = (steps == 0).astype(np.uint8)
    # Whether a run of equal pixels ends, or begins, at each step.
    left, right = [cv2.erode(flat, np.ones((1, FLAT), np.uint8), anchor=(anchor, 0), borderValue=0) == 1
                   for anchor in (FLAT - 1, 0)]
    uneven = flat == 0
    ends = (left[:, :-2] & uneven[:, 2:] | uneven[:, :-2] & right[:, 2:]) & (uneven & (steps < FAINT))[:, 1:-1]
    places = np.bincount(np.arange(ends.shape[1]) % BLOCK, ends.sum(0), BLOCK)
    return float(places.max() / (places.sum() + FEW_ENDS))


def noise(image):
    """The deviation of noise in grey levels, as the quietest twentieth of the blocks shows it; 0 if that is no noise.

    Noise is as strong in fine waves as in coarser ones; what a picture shows is weaker the finer it is, and dithering
    by a pattern is stronger. Noise is looked for in the brightness and in both colours, where pictures have hardly any
    fine waves.
    """
    return max(noise_of(image @ colour) for colour in COLOURS)


def noise_of(plane):
    """The same of one plane [H, W]."""
    power = power_of(blocks_of(plane))
    if not len(power):
        return 0.0
    loudness = power.sum((1, 2)) - power[:, 0, 0]
    quiet = power[np.argsort(loudness)[:max(FEW // 4, len(power) // 20)]]
    fine = np.sqrt(quiet[:, 4:, 4:].mean())
    coarser = np.sqrt(quiet[:, RATHER_COARSE].mean())
    return float(fine) if WHITE * coarser < fine < coarser / WHITE else 0.0


def sharpness(image):
    """How strong the finest waves are beside coarse ones, in the fifth of the blocks with the strongest edges.

    An edge has waves of all kinds, and a blur takes the finest of them. Infinite if there are hardly any edges.
    """
    power = power_of(blocks_of(image @ COLOURS[0]))
    fine, coarse = [power[:, waves].sum(1) for waves in (FINENESS > 5, RATHER_COARSE)]
    edges = np.argsort(coarse)[-max(FEW, len(coarse) // 5):]
    edges = edges[coarse[edges] > EDGE]
    return float(np.sqrt(fine[edges].sum() / coarse[edges].sum())) if len(edges) >= FEW else np.inf


def blocks_of(plane):
    """The blocks of a plane [H, W], without those of one colour, of which drawings have many -> [N, 8, 8].

    N is 0 if there are hardly any others.
    """
    height, width = [size // BLOCK for size in plane.shape]
    blocks = plane[:height * BLOCK, :width * BLOCK].reshape(height, BLOCK, width, BLOCK).swapaxes(1, 2)
    blocks = blocks[np.ptp(blocks, axis=(2, 3)) > 1]
    return blocks if len(blocks) > FEW else blocks[:0]


def power_of(blocks):
    """The power of each wave of the blocks, [N, 8, 8], from coarse to fine."""
    return np.square(WAVES @ blocks @ WAVES.T)
