"""Finding and checking the training pictures, with an index of them, and the held-out picture for samples."""
import collections
import json
import os

import numpy as np
import PIL

from cli.command import UsageError
from data_utils import EMBEDDED, EMBEDDED_SAMPLE, SCALE, embedded, list_images, read_image
from measuring.pairs import Names, marks_of, partners_in
from reading.folders import not_taken
from reading.picture_file import UnreadableImage, read_size
from storage.files import replace_text
from training.degradation import DEGRADATIONS

# Largest side of the sample, the middle part of the held-out picture, in pixels.
SAMPLE_SIZE = 384

# The key of the index's entries. An index with another one is made again.
INDEX = 'path: [size in bytes, ctime in ns, short side in pixels or why it cannot be read], Pillow %s' % PIL.__version__
HELD_OUT = 'held_out'


def find_pictures(data, crop_size, warn, index=None, resume=False, data_lr=None, keep=True):
    """Find the training pictures -> (their paths, the path of the picture held out for samples, partners).

    data: a list of [folder, weight], by which a picture is listed so many times, or None for the embedded pictures.
    Left out are pictures that cannot be read or are smaller than the crop, reduced and enlarged ones beside originals,
    and with `data_lr`, a folder of low-resolution pictures, those that have none in it; `warn` is called with them.
    partners: {path: the path of its low-resolution picture}. The held-out picture is the first that is large enough
    for a whole sample, else that with the longest short side; with `resume` the earlier run's, or one of its name.
    index: a file that keeps it and the result of short_sides for the next run, or None; it is only read without `keep`.
    Raises UsageError if fewer than two pictures remain, or if a pair's sizes do not fit.
    """
    if data is None:
        sides = short_sides(embedded(*EMBEDDED))
        say_what_is_left_out(leave_out_unusable(sides, crop_size), sides, warn)
        if not sides:
            raise UsageError('--crop-size %d is larger than the photographs of scikit-image; give --data DIR'
                             % crop_size)
        return list(sides), embedded(EMBEDDED_SAMPLE)[0], {}
    folders = {folder: list_images(os.path.abspath(folder)) for folder, _ in data}
    weights = collections.Counter()
    for folder, weight in data:
        weights.update(dict.fromkeys(folders[folder], weight))
    sides = short_sides(weights, index, keep)
    earlier = read_index(index).get(HELD_OUT) if resume else None
    leave_out_others(folders, sides, warn)
    left_out = leave_out_unusable(sides, crop_size)
    partners = find_partners(folders, sides, data_lr, left_out) if data_lr else {}
    held_out = None
    for path in sorted(sides, reverse=True, key=lambda path: (
            path == earlier, same_name(path, earlier), min(sides[path], SAMPLE_SIZE))):
        try:
            image = read_image(path)
            if path in partners:
                require_quarter(partners[path], read_image(partners[path]).shape[1::-1], path, image.shape[1::-1])
            held_out = path
            break
        except UnreadableImage as error:
            left_out.append(str(error))
            del sides[path]
    say_what_is_left_out(left_out, sides, warn)
    if len(sides) < 2:
        raise UsageError('--data %s: %d pictures of at least %d x %d pixels; training needs one, and one more is '
                         'held out for the samples' % (
                             ', '.join(folder for folder, _ in data), len(sides), crop_size, crop_size))
    if earlier and not same_name(held_out, earlier):
        warn('the samples and their PSNR are of another picture from here on; %s is not there' % earlier)
    if index and keep and read_index(index).get(HELD_OUT) != held_out:
        replace_text(index, json.dumps({**read_index(index), HELD_OUT: held_out}, indent=0))
    return [path for path in sides if path != held_out for _ in range(weights[path])], held_out, partners


def leave_out_unusable(sides, crop_size):
    """Remove pictures that cannot be read or are smaller than the crop from `sides` -> a line for each."""
    left_out = []
    for path, side in list(sides.items()):
        if isinstance(side, str) or side < crop_size:
            left_out.append(side if isinstance(side, str) else
                            '%s: its short side has %d pixels, fewer than the crop' % (path, side))
            del sides[path]
    return left_out


def say_what_is_left_out(left_out, sides, warn):
    if left_out:
        warn('%d of %d pictures left out:\n  %s' % (
            len(left_out), len(left_out) + len(sides), '\n  '.join(left_out)))


def find_partners(folders, sides, data_lr, left_out):
    """{picture: its low-resolution picture in the folder `data_lr`}.

    Pictures without one move from `sides` to `left_out`. folders: {folder: its pictures}. Raises UsageError for the
    first pair whose sizes do not fit.
    """
    partners = {}
    for folder, paths in folders.items():
        partners.update(partners_in(
            os.path.abspath(data_lr), [path for path in paths if path in sides], os.path.abspath(folder)))
    for path in [path for path in sides if path not in partners]:
        left_out.append('%s: no low-resolution picture in %s' % (path, data_lr))
        del sides[path]
    for path, partner in partners.items():
        try:
            sizes = [read_size(one) for one in (path, partner)]
            if quarter(sizes[0]) != sizes[1]:
                # One of them may be stored lying on its side.
                sizes = [read_image(one).shape[1::-1] for one in (path, partner)]
        except UnreadableImage as error:
            raise UsageError('--data-lr %s: %s' % (data_lr, error))
        require_quarter(partner, sizes[1], path, sizes[0])
    return partners


def quarter(size):
    """The size (width, height) of the low-resolution picture of one of `size`."""
    return tuple(side // SCALE for side in size)


def require_quarter(partner, low, path, high):
    """Raise UsageError unless `low`, the size (width, height) of `partner`, is a quarter of `high`, that of `path`."""
    if quarter(high) != low:
        raise UsageError('--data-lr: %s is %d x %d, which is not a quarter of %s, %d x %d' % (
            partner, *low, path, *high))


def leave_out_others(folders, sides, warn):
    """Remove low-resolution and enlarged pictures that lie beside originals from `sides`, the result of short_sides.

    folders: {folder: its pictures}. `warn` is called with a line on these, on files of other kinds and on folders that
    cannot be read.
    """
    low, enlarged, other, unreadable = [], [], [], []
    for folder, paths in folders.items():
        folder = os.path.abspath(folder)
        known = {path: sides[path] for path in paths if isinstance(sides.get(path), int)}
        names = Names(marks_of(known, folder), known)
        low += names.lows if names.originals else []
        enlarged += sorted(names.enlarged)
        pictures, closed = not_taken(folder)
        other += pictures
        unreadable += closed
    for path in low + enlarged:
        sides.pop(path, None)
    for paths, what in ((low, 'low-resolution pictures, beside originals,'),
                        (enlarged, 'enlarged pictures, beside originals,'), (other, 'files of other kinds'),
                        (unreadable, 'folders that cannot be read')):
        if paths:
            warn('%d %s left out; the first is %s' % (len(paths), what, paths[0]))


def same_name(path, other):
    return os.path.basename(path) == os.path.basename(other or '')


def short_sides(paths, index=None, keep=True):
    """Read the headers of pictures -> {path: its short side in pixels, or the reason why it cannot be used}.

    Pictures that have not changed since the file `index` was written are taken from it. With `keep` it is written again
    if any picture has changed.
    """
    content = read_index(index)
    known = content.get(INDEX, {})
    entries = {}
    for path in paths:
        try:
            status = os.stat(path)
            entry = known.get(path, [])
            if entry[:2] != [status.st_size, status.st_ctime_ns]:
                entry = [status.st_size, status.st_ctime_ns, min(read_size(path))]
        except UnreadableImage as error:
            entry = [status.st_size, status.st_ctime_ns, str(error)]
        except OSError as error:
            entry = [None, None, '%s: %s' % (path, error.strerror)]
        entries[path] = entry
    if index and keep and entries != known:
        replace_text(index, json.dumps({**content, INDEX: entries}, indent=0))
    return {path: entry[2] for path, entry in entries.items()}


def read_index(path):
    """The content of an index, {INDEX: entries, HELD_OUT: path}, as far as it is there and whole."""
    try:
        with open(path or os.devnull) as file:
            content = json.load(file)
        return {name: content[name] for name in (INDEX, HELD_OUT) if name in content}
    except (OSError, ValueError, TypeError):
        return {}


def sample_pair(path, lr_resize, degrade='none', partner=None):
    """The middle of the held-out picture, at most 384 x 384 pixels: (lr uint8 [h, w, 3], hr uint8 [4h, 4w, 3]).

    partner: the path of its low-resolution picture, if that is not to be made.
    """
    image = read_image(path)
    height, width = [min(size, SAMPLE_SIZE) // SCALE * SCALE for size in image.shape[:2]]
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    if partner:
        top, left, size = top // SCALE, left // SCALE, (height // SCALE, width // SCALE)
        lr = read_image(partner)[top:top + size[0], left:left + size[1]]
        return lr, image[SCALE * top:SCALE * top + height, SCALE * left:SCALE * left + width]
    hr = image[top:top + height, left:left + width]
    return DEGRADATIONS[degrade](hr, lr_resize, np.random.RandomState(0)), hr
