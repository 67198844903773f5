"""All losses of the training: their formulas, their weights, and their names in the log and the curves.

To add a weighted loss, add one entry to PICTURE_LOSSES; its option, its column in the log and its curve follow.
A recipe that has another weight than 0 needs it in the table of docs/training.md.
"""
import collections

import numpy as np

from cli.paddle_setup import fluid
from data_utils import SCALE
from measuring import lpips_alex

fl = fluid.layers

# Sides of the windows of phase_loss, in low-resolution pixels, and of colour_loss, in pixels.
PHASE_WINDOW = 12
COLOUR_WINDOW = 16
# The side of the squares of spectrum_loss, in pixels, and over how many squares a side it takes the mean of the power.
SQUARE = 8
SQUARES = 3
LUMA = np.float32([0.299, 0.587, 0.114])
# A grey level of 255, in [-1, 1].
GREY_LEVEL = 2 / 255
# Power below that of a grey level counts as none.
NO_POWER = GREY_LEVEL ** 2
# The side of the windows of drawing_loss, in pixels; an odd number.
DRAWING_WINDOW = 31


# Distances of two feature maps [N, C, H, W] -> a scalar: VGG19's map of G's picture, and its map of the real picture

def mean_square_of_paper(seen, wanted):
    """Mean square error of features that are divided by 12.75 (paper, section 3.2)."""
    return fl.mse_loss(seen, wanted) / 12.75 ** 2


def relative_error(seen, wanted):
    """Mean absolute difference divided by the mean activation, so that maps of all depths have the same scale."""
    return fl.reduce_mean(fl.abs(seen - wanted)) / fl.reduce_mean(wanted)


def angle(seen, wanted):
    """Mean square distance of the features' directions at each place, 0 to 4, as in LPIPS (Zhang et al., CVPR 2018).

    How strong a texture is does not count, only which: G need not fade a texture out where it cannot place it exactly.
    """
    # |s/|s| - w/|w||^2 without the divisions, which need Paddle's slow broadcast over channels.
    product, seen, wanted = [fl.reduce_sum(pair, 1) for pair in (seen * wanted, fl.square(seen), fl.square(wanted))]
    seen_norm, wanted_norm = seen + 1e-6, wanted + 1e-6
    return fl.reduce_mean(seen / seen_norm + wanted / wanted_norm - 2.0 * product * fl.rsqrt(seen_norm * wanted_norm))


def lpips(fake, target):
    """LPIPS, which evaluate.py measures, of pictures [N, 3, H, W] of at least 31 x 31 -> a scalar.

    It is fitted to what people see, but hardly sees dots on smooth surfaces; phase_loss does. Of a network that has
    learnt from it, it says less than of others.
    """
    return fl.reduce_mean(lpips_alex.lpips(fake, target))


# A content loss: pixel_weight x the mean square error of pixels + percep_weight x the weighted sum of `distance` over
# VGG19's feature maps. features: {map: its weight}, from fine to coarse, or {} if `distance` is one of the pictures
# themselves; size: the side in pixels to which pictures are resized for VGG19, or None.
ContentLoss = collections.namedtuple('ContentLoss', 'pixel_weight percep_weight features distance size')

CONTENT_LOSSES = {
    # The paper's SRGAN-MSE.
    'mse': ContentLoss(1.0, 0.0, {}, None, None),
    # The article's.
    'pool5': ContentLoss(1.0, 2e-6, {'pool5': 1.0}, fl.mse_loss, 224),
    # The paper's SRGAN-VGG54 and SRGAN-VGG22.
    'vgg54': ContentLoss(0.0, 1.0, {'vgg54': 1.0}, mean_square_of_paper, None),
    'vgg22': ContentLoss(0.0, 1.0, {'vgg22': 1.0}, mean_square_of_paper, None),
    # The last maps of all five blocks: fine maps keep textures in place, coarse maps keep the objects.
    'layers': ContentLoss(20.0, 1.0, {'vgg12': 0.1, 'vgg22': 0.1, 'vgg34': 1.0, 'vgg44': 1.0, 'vgg54': 1.0},
                          relative_error, None),
    # The same maps, by the directions of their features.
    'directions': ContentLoss(20.0, 1.0, {'vgg12': 2.0, 'vgg22': 0.2, 'vgg34': 3.0, 'vgg44': 1.0, 'vgg54': 1.0},
                              angle, None),
    'lpips': ContentLoss(3.0, 1.0, {}, lpips, None),
}


def perceptual_loss(content, seen, wanted):
    """Weighted distance of the features of G's picture and those of the real one, {map: [N, C, H, W]} -> a scalar."""
    return fl.sums([weight * content.distance(seen[name], wanted[name]) for name, weight in content.features.items()])


# Losses of G's picture against the real picture, each weighted by a setting

def phase_loss(fake, target):
    """A penalty on patterns in G's picture that repeat every SCALE pixels: pictures [N, 3, H, W] -> a scalar.

    Each of the SCALE x SCALE sub-pixels of a low-resolution pixel has its own weights in G. The adversarial loss drives
    the means of the sub-pixels apart, which shows as dots on skin and sky. In each window of PHASE_WINDOW x
    PHASE_WINDOW low-resolution pixels, this loss takes the mean error of each sub-pixel, subtracts the mean over all
    sub-pixels, and squares the difference. So a picture that is too bright or too dark as a whole costs nothing, and
    neither does texture.
    """
    height, width = [size // SCALE for size in target.shape[2:]]
    window = min(PHASE_WINDOW, height, width)
    sub_pixels = fl.reshape(fl.unfold(fake - target, SCALE, SCALE), [-1, SCALE ** 2, height, width])
    means = fl.pool2d(sub_pixels, window, 'avg', window)
    return fl.reduce_mean(fl.square(means - fl.reduce_mean(means, 1, keep_dim=True)))


def colour_loss(fake, target):
    """A penalty on areas of another colour: pictures [N, 3, H, W] -> a scalar.

    VGG19's features hardly tell a tint, nor do the discriminators that see them, so G tints skin and sky by several
    levels. This is the mean square of the mean error in windows of COLOUR_WINDOW x COLOUR_WINDOW pixels.
    """
    window = min(COLOUR_WINDOW, *target.shape[2:])
    return fl.reduce_mean(fl.square(fl.pool2d(fake - target, window, 'avg', window)))


def spectrum_loss(fake, target):
    """A penalty on textures that the real picture does not have at this place: pictures [N, 3, H, W] -> a scalar.

    The adversarial loss asks for texture everywhere, and G weaves some into smooth skin and sky. This is the mean
    square of how far the logarithm of luma's power in G's picture exceeds that in the real one, at each place and
    frequency. A texture that is weaker than the real one, or moved a little, costs nothing.
    """
    return fl.reduce_mean(fl.square(fl.relu(log_power(fake) - log_power(target))))


def log_power(image):
    """The logarithm of luma's power at each frequency, local means: [N, 3, H, W] -> [N, SQUARE ** 2 - 1, h, w].

    The frequencies are those of the discrete cosine transform of a square, without its mean. The squares overlap.
    """
    cosines = np.cos(np.pi / SQUARE * np.outer(np.arange(SQUARE), np.arange(SQUARE) + 0.5)) * (2 / SQUARE) ** 0.5
    cosines[0] /= 2 ** 0.5
    transform = np.kron(cosines, cosines)[1:].astype(np.float32)
    height, width = [(size - SQUARE) // (SQUARE // 2) + 1 for size in image.shape[2:]]
    luma = fl.reduce_sum(fl.elementwise_mul(image, fl.assign(LUMA), axis=1), 1, keep_dim=True)
    frequencies = fl.matmul(fl.assign(transform), fl.unfold(luma, SQUARE, SQUARE // 2))
    power = fl.reshape(fl.square(frequencies), [-1, SQUARE ** 2 - 1, height, width])
    return fl.log(fl.pool2d(power, min(SQUARES, height, width), 'avg', SQUARES) + NO_POWER)


def drawing_loss(fake, target):
    """A pixel loss for drawings, pages and screens alone: pictures [N, 3, H, W] -> a scalar.

    A texture can look right in many ways, a letter in one, but the adversarial loss makes strokes of small letters.
    Drawings have areas of exactly one colour, photographs hardly any. So this is the mean square error of pixels, each
    weighted by the square of the share of pixels around it that are equal to the next ones.
    """
    def part(image, down, right):
        height, width = target.shape[2:]
        return fl.slice(image, [2, 3], [down, right], [height - 1 + down, width - 1 + right])

    here = part(target, 0, 0)
    steps = fl.elementwise_max(*[fl.abs(part(target, *moved) - here) for moved in ((1, 0), (0, 1))])
    flat = fl.cast(fl.reduce_max(steps, 1, keep_dim=True) < fl.fill_constant([1], 'float32', GREY_LEVEL / 2), 'float32')
    share = fl.pool2d(flat, DRAWING_WINDOW, 'avg', 1, DRAWING_WINDOW // 2)
    errors = fl.reduce_mean(fl.square(part(fake, 0, 0) - here), 1, keep_dim=True)
    return fl.reduce_mean(fl.square(share) * errors)


# column: the loss's name in the log; weight: the setting with its weight, 0 in every recipe that does not set it; loss:
# a function of G's picture and the real picture, [N, 3, H, W] in [-1, 1] -> a scalar; help: the text of the option;
# label: the name of the curve.
PictureLoss = collections.namedtuple('PictureLoss', 'column weight loss help label')

PICTURE_LOSSES = (
    PictureLoss('l_g_phase', 'phase_weight', phase_loss,
                "weight in G's loss of a penalty on patterns that repeat every 4 pixels", 'dots'),
    PictureLoss('l_g_colour', 'colour_weight', colour_loss,
                "weight in G's loss of a penalty on areas of another colour", 'colours'),
    PictureLoss('l_g_spectrum', 'spectrum_weight', spectrum_loss,
                "weight in G's loss of a penalty on textures where the real picture has none", 'textures'),
    PictureLoss('l_g_drawing', 'drawing_weight', drawing_loss,
                "weight in G's loss of a pixel loss for drawings, pages and screens", 'drawings'),
)


# The adversarial losses
#
# Of D's logits of real and generated pictures in pairs: [N, 1], or [N, 1, H, W] with one for each place.

def cross_entropy(logits, label):
    """Mean binary cross-entropy of logits against the same label for all -> a scalar."""
    labels = fl.fill_constant_batch_size_like(logits, [-1, *logits.shape[1:]], 'float32', label)
    return fl.reduce_mean(fl.sigmoid_cross_entropy_with_logits(logits, labels))


def standard_d(real, generated, real_label):
    """BCE(D(real), real_label) + BCE(D(G(lr)), 0), as in the paper -> {column: a scalar}."""
    return {'l_d_real': cross_entropy(real, real_label), 'l_d_fake': cross_entropy(generated, 0.0)}


def standard_g(real, generated):
    """-log D(G(lr)): does not saturate while D still recognises all of G's pictures (paper, section 2.2.2)."""
    return cross_entropy(generated, 1.0)


def relativistic_d(real, generated, real_label):
    """D learns that a real picture is more real than G's copy of it (Jolicoeur-Martineau, ICLR 2019)."""
    return {'l_d_pair': cross_entropy(real - generated, real_label)}


def relativistic_g(real, generated):
    return cross_entropy(generated - real, 1.0)


# d: a function of the logits and the label of real pictures -> {column: loss}, which D minimises the sum of; g: a
# function of the logits -> the loss that G minimises.
AdversarialLoss = collections.namedtuple('AdversarialLoss', 'd g')

ADVERSARIAL_LOSSES = {
    'standard': AdversarialLoss(standard_d, standard_g),
    'relativistic': AdversarialLoss(relativistic_d, relativistic_g),
}


def d_losses(kind, verdicts, label_smoothing):
    """D's losses, each the sum over the verdicts, see srgan_d.judge -> {column: a scalar}."""
    parts = [ADVERSARIAL_LOSSES[kind].d(real, generated, 1.0 - label_smoothing) for real, generated, _ in verdicts]
    return {column: fl.sums([part[column] for part in parts]) for column in parts[0]}


def g_loss(kind, verdicts):
    """G's adversarial loss, the weighted sum over the verdicts -> a scalar."""
    return fl.sums([weight * ADVERSARIAL_LOSSES[kind].g(real, generated) for real, generated, weight in verdicts])


def opinions(verdicts):
    """What D thinks -> {column: a scalar}: the means of its outputs as probabilities, from 0 (generated) to 1 (real),
    and the share of pairs in which it holds the real picture for more real than G's copy of it.
    """
    def mean(values):
        return fl.scale(fl.sums([fl.reduce_mean(value) for value in values]), 1.0 / len(verdicts))

    return {'d_real': mean(fl.sigmoid(real) for real, _, _ in verdicts),
            'd_fake': mean(fl.sigmoid(generated) for _, generated, _ in verdicts),
            'd_told': mean(fl.cast(real > generated, 'float32') for real, generated, _ in verdicts)}


# The objective

# The losses that G and D minimise. content_loss: a key of CONTENT_LOSSES; picture_weights: {setting: weight} for
# PICTURE_LOSSES; label_smoothing: X, if D learns the label 1 - X for real pictures; discriminator: a key of
# srgan_d.DISCRIMINATORS.
Objective = collections.namedtuple(
    'Objective', 'content_loss adversarial_weight picture_weights label_smoothing discriminator',
    defaults=({}, 0.0, 'article'))


def objective_of(settings):
    """Return the Objective of a run's settings."""
    return Objective(settings.content_loss, settings.adversarial_weight,
                     {loss.weight: getattr(settings, loss.weight) for loss in PICTURE_LOSSES}, settings.label_smoothing,
                     settings.discriminator)


# The loss columns of the log, in order, and {column: label} of each panel of the curves.
COLUMNS = ('l_g_pix', 'l_g_percep', *[loss.column for loss in PICTURE_LOSSES], 'l_g_gan', 'g_loss', 'l_d_real',
           'l_d_fake', 'l_d_pair', 'd_real', 'd_fake', 'd_told')
CONTENT_CURVES = {'l_g_pix': 'pixels', 'l_g_percep': 'features', **{loss.column: loss.label for loss in PICTURE_LOSSES}}
ADVERSARIAL_CURVES = {'l_g_gan': 'G', 'l_d_real': 'D, real', 'l_d_fake': 'D, generated', 'l_d_pair': 'D, pairs'}
OPINION_CURVES = {'d_real': 'of real pictures', 'd_fake': "of G's pictures", 'd_told': 'share of pairs told apart'}
