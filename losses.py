"""All losses of the training: their formulas, their weights, and their names in the log and the curves.

To add a weighted loss, add one entry to PICTURE_LOSSES; its option, its column in the log and its curve follow.
"""
import collections

from cli.paddle_setup import fluid
from data_utils import SCALE
from vgg19 import feature_maps

fl = fluid.layers

# Side of the windows of phase_loss in low-resolution pixels.
PHASE_WINDOW = 12


# Distances of two feature maps [N, C, H, W] -> a scalar: VGG19's map of G's picture, and its map of the real picture

def mean_square(seen, wanted):
    return fl.mse_loss(seen, wanted)


def mean_square_of_paper(seen, wanted):
    """Mean square error of features that are divided by 12.75 (paper, section 3.2)."""
    return fl.mse_loss(seen, wanted) / 12.75 ** 2


def relative_error(seen, wanted):
    """Mean absolute difference divided by the mean activation, so that maps of all depths have the same scale."""
    return fl.reduce_mean(fl.abs(seen - wanted)) / fl.reduce_mean(wanted)


# A content loss: pixel_weight x the mean square error of pixels + percep_weight x the weighted sum of `distance` over
# VGG19's feature maps. features: {map: its weight}, from fine to coarse; size: the side in pixels to which pictures are
# resized for VGG19, or None.
ContentLoss = collections.namedtuple('ContentLoss', 'pixel_weight percep_weight features distance size')

CONTENT_LOSSES = {
    # The paper's SRGAN-MSE.
    'mse': ContentLoss(1.0, 0.0, {}, None, None),
    # The article's.
    'pool5': ContentLoss(1.0, 2e-6, {'pool5': 1.0}, mean_square, 224),
    # The paper's SRGAN-VGG54 and SRGAN-VGG22.
    'vgg54': ContentLoss(0.0, 1.0, {'vgg54': 1.0}, mean_square_of_paper, None),
    'vgg22': ContentLoss(0.0, 1.0, {'vgg22': 1.0}, mean_square_of_paper, None),
    # The last maps of all five blocks: fine maps keep textures in place, coarse maps keep the objects.
    'layers': ContentLoss(20.0, 1.0, {'vgg12': 0.1, 'vgg22': 0.1, 'vgg34': 1.0, 'vgg44': 1.0, 'vgg54': 1.0},
                          relative_error, None),
}


def perceptual_loss(content, fake, target):
    """Weighted distance of the features of G's picture and the real picture, [N, 3, H, W] in [-1, 1] -> a scalar."""
    maps = zip(content.features.values(), *[feature_maps(image, content.features) for image in (fake, target)])
    return fl.sums([weight * content.distance(*pair) for weight, *pair in maps])


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


# column: the loss's name in the log; weight: the setting with its weight, 0 in every recipe that does not set it; loss:
# a function of G's picture and the real picture, [N, 3, H, W] in [-1, 1] -> a scalar; help: the text of the option;
# label: the name of the curve.
PictureLoss = collections.namedtuple('PictureLoss', 'column weight loss help label')

PICTURE_LOSSES = (
    PictureLoss('l_g_phase', 'phase_weight', phase_loss,
                "weight in G's loss of a penalty on patterns that repeat every 4 pixels", 'dots'),
)


# The adversarial losses

def cross_entropy(logits, label):
    """Mean binary cross-entropy of D's logits [N, 1] against the same label for all pictures -> a scalar."""
    labels = fl.fill_constant_batch_size_like(logits, [-1, 1], 'float32', label)
    return fl.reduce_mean(fl.sigmoid_cross_entropy_with_logits(logits, labels))


def probability(logits):
    """The mean of D's outputs as probabilities, from 0 (generated) to 1 (real): logits [N, 1] -> a scalar."""
    return fl.reduce_mean(fl.sigmoid(logits))


# The objective

# The losses that G and D minimise. content_loss: a key of CONTENT_LOSSES; picture_weights: {setting: weight} for
# PICTURE_LOSSES; label_smoothing: X, if D learns the label 1 - X for real pictures.
Objective = collections.namedtuple('Objective', 'content_loss adversarial_weight picture_weights label_smoothing',
                                   defaults=({}, 0.0))


def objective_of(settings):
    """Return the Objective of a run's settings."""
    return Objective(settings.content_loss, settings.adversarial_weight,
                     {loss.weight: getattr(settings, loss.weight) for loss in PICTURE_LOSSES}, settings.label_smoothing)


# The loss columns of the log, in order, and {column: label} of each panel of the curves.
COLUMNS = ('l_g_pix', 'l_g_percep', *[loss.column for loss in PICTURE_LOSSES], 'l_g_gan', 'g_loss', 'l_d_real',
           'l_d_fake', 'd_real', 'd_fake')
CONTENT_CURVES = {'l_g_pix': 'pixels', 'l_g_percep': 'VGG19', **{loss.column: loss.label for loss in PICTURE_LOSSES}}
ADVERSARIAL_CURVES = {'l_g_gan': 'G', 'l_d_real': 'D, real', 'l_d_fake': 'D, generated'}
OPINION_CURVES = {'d_real': 'of real pictures', 'd_fake': "of G's pictures"}
