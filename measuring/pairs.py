"""High-resolution pictures to measure with, and their low-resolution partners, found by name or made by bicubic.

Two pictures are a pair if their names are the same but for marks (`_HR`, `_GT`; `_LR`, `_LQ`, `x4`), letter case and
ending, and if the smaller one has such a mark or lies in a folder with one (`LR`, `LRbicx4`, `DIV2K_valid_LR_bicubic`),
or has exactly a quarter of the other's width and height.
"""
import collections
import os
import re

import numpy as np

from cli.command import UsageError
from data_utils import SCALE, bicubic_resize, list_images, read_image
from reading.folders import EXTENSIONS, not_taken
from reading.picture_file import UnreadableImage, read_size

# The smallest side that is measured: what LPIPS needs, as a multiple of SCALE. It holds without --lpips too, so that
# the means are over the same pictures.
SMALLEST = 32

Pair = collections.namedtuple('Pair', 'name hr lr')

# How many times smaller the low-resolution pictures of data sets are.
SCALES = 2, 3, 4, 8
# The marks at the end of a name, and the words of a folder's name that are marks; all in small letters.
HIGH_NAME = re.compile(r'[-_. ](hr|hq|gt)$')
LOW_NAME = re.compile(r'[-_. ](lr|lq)(bic(ubic)?)?[-_]?x?(?P<scale>[2348])?$')
# DIV2K's tracks also end in m, d, or w and a number: mild, difficult, wild.
SCALE_NAME = re.compile(r'(?<=.)[-_. ]?x(?P<scale>[2348])(m|d|w\d?)?$')
WORD = re.compile(r'(?P<high>(hr|hq|gt)(mod\d+)?)|(?P<low>(lr|lq)(bic(ubic)?)?x?(?P<scale>[2348])?)|bic(ubic)?|unknown|'
                  r'x(?P<other_scale>[2348])')


def folder_marks(name):
    """The name of a folder -> ([match of WORD, ...], its other words)."""
    words = re.split('[^a-z0-9]+', name.lower())
    marks = [WORD.fullmatch(word) for word in words]
    return [mark for mark in marks if mark], '_'.join(word for word, mark in zip(words, marks) if not mark)


class Marks:
    """What the path of a picture says; `is_low` says whether it is a low-resolution picture, if that is known.

    high, low: its name as an original and as a low-resolution picture, without marks; None if it cannot be one. is_low:
    whether it must be one. ends_in_scale: whether its name ends as `0801x4`. scale: how many times smaller it is, None
    if nothing says so. place: the names of its folders without marks.
    """

    def __init__(self, path, is_low=None):
        *folders, name = path.lower().split(os.sep)
        name = os.path.splitext(name)[0]
        high, low, scaled = [pattern.search(name) for pattern in (HIGH_NAME, LOW_NAME, SCALE_NAME)]
        mark = low or scaled
        found = [folder_marks(folder) for folder in folders]
        words = [word for marks, _ in found for word in marks]
        self.place = tuple(rest for _, rest in found if rest)
        self.is_low = (bool(low) or any(word.group('low') for word in words)) if is_low is None else is_low
        is_high = bool(high) or any(word.group('high') for word in words) and not self.is_low or is_low is False
        self.ends_in_scale = bool(scaled)
        self.high = None if self.is_low else HIGH_NAME.sub('', name)
        self.low = None if is_high else name[:mark.start()] if mark else name
        scales = [mark.group('scale')] if mark else []
        scales += [word.group('scale') or word.group('other_scale') for word in words]
        self.scale = next((int(scale) for scale in scales if scale), None)


def marks_of(paths, root, is_low=None):
    """{path: Marks}. root: the folder from which on the names of folders count."""
    return {path: Marks(os.path.relpath(path, root), is_low) for path in paths}


class Names:
    """Originals and low-resolution pictures among the paths of `marks`; see marks_of.

    sides: {path: short side} as far as known. originals: paths. lows: {path of low resolution: paths of its originals}.
    enlarged: the set of pictures NAME_x4 that are four times as large as NAME beside them, as upscale.py makes them.
    """

    def __init__(self, marks, sides=None):
        self.marks = marks
        self.sides = sides or {}
        self.sizes = {}
        self.enlarged = set()
        self.lows = {path: [] for path, marks in self.marks.items() if marks.is_low}
        highs, lows = collections.defaultdict(list), collections.defaultdict(list)
        for path, marks in self.marks.items():
            highs[marks.high].append(path)
            lows[marks.low].append(path)
        for name in (set(highs) & set(lows)) - {None}:
            if len({*highs[name], *lows[name]}) > 1:
                self.match(highs[name], lows[name])
        # In a folder as DIV2K's, also those whose original is missing.
        if any(self.marks[path].ends_in_scale and not self.marks[path].is_low for path in self.lows):
            self.lows.update({path: [] for path, marks in self.marks.items()
                              if marks.ends_in_scale and path not in self.lows})
        self.originals = [path for path in self.marks if path not in self.lows and path not in self.enlarged]

    def match(self, highs, lows):
        """Find the originals of `lows` among `highs`, all of one name: by the marks in their paths, else by sizes.

        Those whose folders have the same names but for marks come first. Of others, one is enough.
        """
        near, of_side = collections.defaultdict(list), collections.defaultdict(list)
        for path in highs:
            near[self.marks[path].place].append(path)
            of_side[self.side(path)].append(path)
        for path in lows:
            marks, side = self.marks[path], self.side(path)
            found = [high for high in near[marks.place] if marks.is_low or self.scale(high, path)]
            if not found:
                sides = (length for scale in SCALES for length in range(scale * (side - 1) + 1, scale * (side + 1)))
                found = [high for length in sides for high in of_side.get(length, ())[:1] if self.scale(high, path)]
            if found:
                self.lows[path] = found
            elif marks.scale == SCALE and any(self.scale(path, low) == SCALE for low in near[marks.place]):
                self.enlarged.add(path)

    def side(self, path):
        return self.sides[path] if path in self.sides else min(self.size(path))

    def size(self, path):
        """(width, height) of a picture; zeros if it cannot be read."""
        if path not in self.sizes:
            try:
                self.sizes[path] = read_size(path)
            except UnreadableImage:
                self.sizes[path] = (0, 0)
        return self.sizes[path]

    def scale(self, high, low):
        """Which of SCALES the width and height of `high` are to those of `low`, rounded down or up; None if none is."""
        # A picture may be stored lying on its side.
        sides = list(zip(sorted(self.size(high)), sorted(self.size(low))))
        return next((scale for scale in SCALES if all(
            0 < short < long and scale * (short - 1) < long < scale * (short + 1) for long, short in sides)), None)

    def partners(self):
        """{original: its low-resolution picture, or None}. One of the same place and of the right size comes first."""
        found = {path: [] for path in self.originals}
        for low, highs in self.lows.items():
            for high in highs:
                if high in found and self.marks[low].scale in (None, SCALE):
                    found[high].append(low)
        return {high: min(lows, default=None, key=lambda low: (
            self.scale(high, low) != SCALE, self.marks[low].place != self.marks[high].place, low))
            for high, lows in found.items()}


def find_pairs(folder):
    """Find the pictures to measure in a folder -> (pairs, left_out).

    pairs: [Pair(name, path of HR, path of LR), ...]. If no picture has an LR partner, lr is None in every Pair.
    left_out: a line for each picture that lacks its partner or is of another kind, and each folder that cannot be read.
    Raises UsageError if there is no HR picture.
    """
    inside = list_images(folder)
    root, beside = surroundings(folder)
    names = Names(marks_of(inside + beside, root))
    partners = {path: partner for path, partner in names.partners().items() if path not in set(beside)}
    if not partners:
        raise UsageError('%s: no high-resolution picture in it (%s)%s' % (
            folder, ' '.join(EXTENSIONS), inside and ', but %d low-resolution ones, as their names and sizes say' % len(
                inside) or ''))
    paired = [path for path in partners if partners[path]] or list(partners)
    left_out = ['%s: no low-resolution partner, as others have' % path for path in partners if path not in paired]
    known = set(partners.values())
    left_out += ['%s: no high-resolution partner' % path for path in inside
                 if path in names.lows and path not in known and names.marks[path].scale in (None, SCALE)]
    left_out += ['%s: an enlarged picture, beside the one it was made from' % path for path in inside
                 if path in names.enlarged]
    other, unreadable = not_taken(folder)
    left_out += ['%s: pictures of this kind are not measured; convert it to PNG' % path for path in other]
    left_out += ['%s: this folder cannot be read' % path for path in unreadable]

    relative = {path: os.path.relpath(path, folder).replace(os.sep, '/') for path in paired}
    shown = {path: re.sub('_HR$', '', os.path.splitext(relative[path])[0]) for path in paired}
    # Two pictures can have one name without ending, and a.png.png has without it the whole name of a.png.
    count = collections.Counter([*shown.values(), *relative.values()])
    return [Pair(shown[path] if count[shown[path]] == 1 else relative[path], path, partners[path])
            for path in paired], left_out


def partners_in(folder, originals, root):
    """{original: its low-resolution picture in `folder`}, by names as in Names, for the originals that have one.

    root: the folder from which on the names of the originals' folders count.
    """
    names = Names({**marks_of(originals, root, False), **marks_of(list_images(folder), folder, True)})
    return {original: partner for original, partner in names.partners().items() if partner}


def surroundings(folder):
    """-> (the folder from which on the names of folders count, the pictures in the folders beside `folder`).

    If its name has a mark, these may have the partners: DIV2K_valid_LR_bicubic/X4 those of DIV2K_valid_HR.
    """
    path = os.path.abspath(folder)
    parent, name = os.path.split(path)
    marks, place = folder_marks(name)
    if marks and not place and not any(mark.group('high') or mark.group('low') for mark in marks):
        # X4 in LR_bicubic.
        parent, name = os.path.split(parent)
        marks, place = folder_marks(name)
    if not any(mark.group('high') or mark.group('low') for mark in marks):
        return path, []
    others = [os.path.join(parent, other) for other in sorted(os.listdir(parent))
              if other != name and folder_marks(other)[0] and folder_marks(other)[1] == place]
    beside = [picture for other in others if os.path.isdir(other) for picture in list_images(other)]
    # Without such a folder, a mark in the name of this one says nothing.
    return (parent if beside else path), beside


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
