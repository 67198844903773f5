"""High-resolution pictures to measure with, and their low-resolution partners, found by name or made by bicubic."""
import collections
import os
import re

import numpy as np

from cli.command import UsageError
from data_utils import EXTENSIONS, SCALE, UnreadableImage, bicubic_resize, list_images, read_image

# The smallest side that is measured: what LPIPS needs, as a multiple of SCALE. It holds without --lpips too, so that
# the means are over the same pictures.
SMALLEST = 32

Pair = collections.namedtuple('Pair', 'name hr lr')

# Matches the path of a low-resolution picture: img_LR.png, LR/img.png, DIV2K_valid_LR_bicubic/X4/img.png.
LR_PATH = re.compile(r'_LR\.[^./]+$|(^|[_/])LR(_[^/]*)?/')


def find_pairs(folder):
    """Find the pictures to measure in a folder -> (pairs, left_out).

    pairs: [Pair(name, path of HR, path of LR), ...]. If no picture has an LR partner, lr is None in every Pair.
    left_out: a line for each picture that lacks its partner. Raises UsageError if there is no HR picture.
    """
    relative = {path: os.path.relpath(path, folder).replace(os.sep, '/') for path in list_images(folder)}
    partners = {path: find_lr(path) for path in relative if not LR_PATH.search(relative[path])}
    if not partners:
        raise UsageError('--data %s: no high-resolution picture in it (%s)' % (folder, ' '.join(EXTENSIONS)))
    paired = [path for path in partners if partners[path]] or list(partners)
    left_out = ['%s: no low-resolution partner, as others have' % path for path in partners if path not in paired]

    known = {os.path.abspath(path) for path in [*partners, *filter(None, partners.values())]}
    folders = {os.path.dirname(path) for path in known}
    left_out += ['%s: no high-resolution partner' % path for path in relative
                 if os.path.abspath(path) not in known and os.path.dirname(os.path.abspath(path)) in folders]

    names = {path: re.sub('_HR$', '', os.path.splitext(relative[path])[0]) for path in paired}
    count = collections.Counter(names.values())
    return [Pair(names[path] if count[names[path]] == 1 else relative[path], path, partners[path])
            for path in paired], left_out


def find_lr(hr_path):
    """The path of a picture's LR partner, by the names that Set5 and DIV2K use, or None."""
    folder, file_name = os.path.split(os.path.abspath(hr_path))
    name, extension = os.path.splitext(file_name)
    candidates = []
    if name.endswith('_HR'):
        candidates.append(os.path.join(folder, name[:-2] + 'LR'))
    if folder.endswith('HR'):
        candidates += [os.path.join(folder[:-2] + lr_folder, lr_name)
                       for lr_folder in ('LR_bicubic/X4', 'LR_bicubic', 'LR/X4', 'LR')
                       for lr_name in (name + 'x4', name)]
    paths = [candidate + ending for candidate in candidates for ending in (extension,) + EXTENSIONS]
    return next(filter(os.path.isfile, paths), None)


def read_pair(pair):
    """Read a Pair -> (lr uint8 [h, w, 3], hr uint8 [4h, 4w, 3]); without an LR path, lr is hr reduced by bicubic.

    Raises UnreadableImage if a file cannot be read, HR is too small, or LR is not a quarter of HR's size.
    """
    hr = read_image(pair.hr)
    height, width = [size // SCALE for size in hr.shape[:2]]
    if min(height, width) < SMALLEST // SCALE:
        raise UnreadableImage('%s: %d x %d, smaller than %d x %d' % (
            pair.hr, hr.shape[1], hr.shape[0], SMALLEST, SMALLEST))
    hr = np.ascontiguousarray(hr[:height * SCALE, :width * SCALE])
    lr = read_image(pair.lr) if pair.lr else bicubic_resize(hr, width, height)
    if lr.shape != (height, width, 3):
        raise UnreadableImage('%s: its low-resolution partner %s is %d x %d, not %d x %d' % (
            pair.hr, os.path.basename(pair.lr), lr.shape[1], lr.shape[0], width, height))
    return lr, hr


def enlarge_bicubic(lr):
    """uint8 [H, W, 3] -> uint8 [4H, 4W, 3]."""
    return bicubic_resize(lr, lr.shape[1] * SCALE, lr.shape[0] * SCALE)
