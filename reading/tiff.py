"""TIFF files: their tags, and their pixels with 8 or 16 bits for each sample, however they are stored.

PIL keeps 8 of 16 bits, and OpenCV takes planes, inks and white for what they are not. libtiff, inside PIL, unpacks the
samples; this module says which is which. So PIL gets them as grey pictures of 8 or 16 bits.
"""
import io
import struct

import numpy as np
from PIL import Image

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
FILL_ORDER, STRIP_OFFSETS, SAMPLES, STRIP_ROWS, STRIP_BYTES, PLANES = 266, 273, 277, 278, 279, 284
PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 317, 322, 323, 324, 325
EXTRA, SAMPLE_FORMAT, XMP, ICC = 338, 339, 700, 34675
# The tags on which the pixels depend, those of CCITT, JPEG and YCbCr included. Others, such as the orientation, on
# which PIL acts in its own way, are kept from it.
PIXELS = {*range(254, 260), PHOTOMETRIC, FILL_ORDER, STRIP_OFFSETS, SAMPLES, STRIP_ROWS, STRIP_BYTES, PLANES, 292, 293,
          PREDICTOR, 320, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES, EXTRA, SAMPLE_FORMAT, 347,
          *range(512, 522), *range(529, 533)}
# None, LZW, two names of deflate, PackBits, LZMA, Zstandard: these keep bytes as they are.
LOSSLESS = 1, 5, 8, 32946, 32773, 34925, 50000
PREDICTING = 5, 8, 32946, 34925, 50000
# {photometric interpretation: number of colours}: grey from white, grey from black, RGB, CMYK.
COLOURS = {0: 1, 1: 1, 2: 3, 5: 4}
MOST_EXTRA = 4
# {type of a tag's values: (its bytes, its letter for struct)}
TYPES = {1: (1, 'B'), 2: (1, 'B'), 3: (2, 'H'), 4: (4, 'I'), 5: (8, None), 6: (1, 'b'), 7: (1, 'B'), 8: (2, 'h'),
         9: (4, 'i'), 10: (8, None), 11: (4, 'f'), 12: (8, 'd'), 13: (4, 'I'), 16: (8, 'Q'), 17: (8, 'q'),
         18: (8, 'Q')}


def is_tiff(data):
    return data[:4] in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')


class Tags:
    """The tags of the first picture of a TIFF file, and the number of its pictures."""

    def __init__(self, data):
        """Raises struct.error or ValueError if `data`, the file's bytes, has no tags."""
        self.data = data
        self.order = '<' if data[:2] == b'II' else '>'
        # BigTIFF has addresses of 8 bytes.
        self.is_big = b'+' in data[2:4]
        self.word, self.count, self.address = (8, 'Q', 'Q') if self.is_big else (4, 'H', 'I')
        place, = self.unpack(self.address, self.word)
        self.entries, place = self.directory(place)
        self.pages, seen = 1, set()
        while place and place not in seen and len(seen) < 10000:
            seen.add(place)
            try:
                _, place = self.directory(place)
            except (struct.error, ValueError):
                break
            self.pages += 1

    def unpack(self, form, place):
        return struct.unpack_from(self.order + form, self.data, place)

    def directory(self, place):
        """-> ({tag: (type, bytes)}, the place of the next directory, or 0)."""
        number, = self.unpack(self.count, place)
        place += struct.calcsize(self.count)
        size = 4 + 2 * self.word
        entries = {}
        for start in range(place, place + number * size, size):
            tag, kind, count = self.unpack('HH' + self.address, start)
            if kind not in TYPES:
                continue
            length, at = count * TYPES[kind][0], start + 4 + self.word
            at = at if length <= self.word else self.unpack(self.address, at)[0]
            if at + length <= len(self.data):
                entries.setdefault(tag, (kind, self.data[at:at + length]))
        if not entries:
            raise ValueError('a TIFF file without tags')
        place += number * size
        return entries, self.unpack(self.address, place)[0] if place + self.word <= len(self.data) else 0

    def __contains__(self, tag):
        return tag in self.entries

    def content(self, tag):
        return self.entries[tag][1]

    def get(self, tag, *default):
        """The values of a tag, a tuple of numbers."""
        kind, content = self.entries.get(tag, (None, b''))
        if kind is None or TYPES[kind][1] is None:
            return default
        size, letter = TYPES[kind]
        return struct.unpack('%s%d%s' % (self.order, len(content) // size, letter), content)

    def require_whole(self):
        """Raise ValueError if there are fewer strips or tiles than the size asks for; PIL leaves these black."""
        (width,), (height,) = self.get(WIDTH, 0), self.get(HEIGHT, 0)
        if TILE_OFFSETS in self:
            (across,), (down,), found = self.get(TILE_WIDTH, 0), self.get(TILE_HEIGHT, 0), self.get(TILE_OFFSETS)
        else:
            across, (down,), found = width, self.get(STRIP_ROWS, height), self.get(STRIP_OFFSETS)
        if not width or not height or not across or not down:
            raise ValueError('a TIFF whose size is damaged')
        planes = self.get(SAMPLES, 1)[0] if self.get(PLANES, 1)[0] == 2 else 1
        if len(found) < -(-width // across) * -(-height // down) * planes:
            raise ValueError('a TIFF that is cut off')

    def file(self, tags=PIXELS, changed=None, data=None):
        """An open file for PIL, with a directory of certain tags alone behind the file's bytes, or behind `data`.

        changed: {tag: other values for it, () to leave it out}.
        """
        data = self.data if data is None else data
        kept = {tag: entry for tag, entry in self.entries.items() if tag in tags}
        # Numbers of 8 bytes are BigTIFF's.
        changed = {**{tag: self.get(tag) for tag, (kind, _) in kept.items() if kind in (16, 17, 18)}, **(changed or {})}
        kept.update((tag, (4, struct.pack('%s%dI' % (self.order, len(values)), *values)))
                    for tag, values in changed.items())
        kept = {tag: entry for tag, entry in kept.items() if entry[1]}
        # At an even address, behind the header.
        start = max(8, len(data) + len(data) % 2)
        entries, more = [], b''
        for tag, (kind, content) in sorted(kept.items()):
            entry = struct.pack(self.order + 'HHI', tag, kind, len(content) // TYPES[kind][0])
            if len(content) > 4:
                place = start + 2 + 12 * len(kept) + 4 + len(more)
                more += content + bytes(len(content) % 2)
                content = struct.pack(self.order + 'I', place)
            entries.append(entry + content.ljust(4, b'\0'))
        file = io.BytesIO()
        file.write(self.data[:2] + struct.pack(self.order + 'HI', 42, start))
        file.write(data[8:])
        file.seek(start)
        file.write(struct.pack(self.order + 'H', len(kept)) + b''.join(entries) + bytes(4) + more)
        file.seek(0)
        return file


class Samples:
    """The picture of `tags`, of a kind for which can_read is true."""

    @staticmethod
    def can_read(tags):
        """Whether the samples have 8 or 16 bits each, are grey, RGB or CMYK, and are stored without loss."""
        colours = COLOURS.get(tags.get(PHOTOMETRIC, None)[0])
        return (set(tags.get(BITS, 1)) in ({8}, {16}) and set(tags.get(SAMPLE_FORMAT, 1)) <= {1, 4} and
                tags.get(COMPRESSION, 1)[0] in LOSSLESS and tags.get(PREDICTOR, 1)[0] in (1, 2) and
                tags.get(FILL_ORDER, 1)[0] == 1 and bool(colours) and
                colours <= tags.get(SAMPLES, 1)[0] <= colours + MOST_EXTRA)

    def __init__(self, tags):
        self.tags = tags
        self.photometric = tags.get(PHOTOMETRIC)[0]
        self.samples = tags.get(SAMPLES, 1)[0]
        self.compression = tags.get(COMPRESSION, 1)[0]
        self.colours = COLOURS[self.photometric]
        self.bits = tags.get(BITS)[0]
        self.size = tags.get(WIDTH)[0], tags.get(HEIGHT)[0]

    def pixels(self):
        """-> (uint8 or uint16 [H, W, C] as in a Picture, its mode)."""
        if self.tags.get(PLANES, 1)[0] == 2 and self.samples > 1:
            pixels = np.dstack([self.unpacked(1, plane) for plane in range(self.samples)])
        else:
            pixels = self.unpacked(self.samples)
        if self.photometric == 0:
            pixels[:, :, 0] = ~pixels[:, :, 0]
        # 1: the colours are multiplied by alpha; 2: they are not. Others are no alpha.
        alpha = self.tags.get(EXTRA, 2)[0] if self.samples > self.colours else 0
        if self.photometric == 5 or alpha not in (1, 2):
            return pixels[:, :, :self.colours], {1: 'L', 3: 'RGB', 4: 'CMYK'}[self.colours]
        pixels = pixels[:, :, :self.colours + 1]
        if alpha == 1:
            white = np.iinfo(pixels.dtype).max
            opacity = np.maximum(pixels[:, :, -1:], 1).astype(np.float32) / white
            pixels[:, :, :-1] = np.minimum(pixels[:, :, :-1] / opacity + 0.5, white)
        return pixels, {1: 'LA', 3: 'RGBA'}[self.colours]

    def unpacked(self, samples, plane=None):
        """`samples` for each pixel, [H, W, samples], of one plane or of all that stand side by side."""
        width, height = self.size
        changed = {WIDTH: (width * samples,), BITS: (self.bits,), PHOTOMETRIC: (1,), SAMPLES: (1,),
                   PLANES: (), EXTRA: (), SAMPLE_FORMAT: (), PREDICTOR: ()}
        period = width
        if TILE_OFFSETS in self.tags:
            period, = self.tags.get(TILE_WIDTH)
            changed[TILE_WIDTH] = (period * samples,)
        if plane is not None:
            for tag in (STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES):
                values = self.tags.get(tag)
                count = len(values) // self.samples
                changed[tag] = values[plane * count:(plane + 1) * count]
        with Image.open(self.tags.file(changed=changed)) as image:
            image.load()
            rows = np.asarray(image).reshape(height, width, samples)
        rows = rows.astype(np.uint16 if self.bits == 16 else np.uint8)
        if self.compression in PREDICTING and self.tags.get(PREDICTOR, 1)[0] == 2:
            # Each sample is stored as the difference to the one on the left, in each tile anew.
            for left in range(0, width, period):
                part = rows[:, left:left + period]
                np.cumsum(part, axis=1, dtype=rows.dtype, out=part)
        return rows
