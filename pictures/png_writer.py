"""PNG files of any size, written a few rows at a time."""
import struct
import zlib

import numpy as np

from reading.blocks import INCH, PNG

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
# PNG's filter type "average".
AVERAGE = 3
# How many rows are filtered at once: few, so that they stay in the processor's cache.
ROWS = 16

# How many bytes of a PNG stand before the first chunk after IHDR.
HEAD = 33


def chunk(name, data):
    """The bytes of a chunk."""
    return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))


class PngWriter:
    """Writes a picture to an open file from top to bottom; `close` writes its end.

    PIL and OpenCV need the whole picture at once, and neither writes 16-bit RGB with its profile. Rows are filtered by
    the average of the pixels to the left and above, and compressed as runs (zlib's Z_RLE). Measured on an enlarged
    photograph, the file is within 2 % of the usual choice of filters at level 6, and written ten times faster.

    dpi: (x, y) or None; icc: the profile's bytes or None; exif: EXIF's bytes without the 'Exif' mark, or None; chunks:
    further ones, [(name, content), ...].
    """

    def __init__(self, file, width, height, channels, bits, dpi=None, icc=None, exif=None, chunks=()):
        self.file = file
        self.above = np.zeros((1, width * channels * bits // 8), np.uint8)
        self.pixel_bytes = channels * bits // 8
        self.zlib = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
        file.write(PNG)
        self.chunk(b'IHDR', struct.pack('>2I5B', width, height, bits, COLOUR_TYPES[channels], 0, 0, 0))
        if icc:
            self.chunk(b'iCCP', b'ICC profile\0\0' + zlib.compress(icc))
        if dpi:
            self.chunk(b'pHYs', struct.pack('>2IB', *[round(value / INCH) for value in dpi], 1))
        if exif:
            self.chunk(b'eXIf', exif)
        for name, content in chunks:
            self.chunk(name, content)

    def write(self, rows):
        """Write the next rows, uint8 or uint16 [N, width, channels]."""
        rows = rows.astype(rows.dtype.newbyteorder('>'), copy=False).view(np.uint8).reshape(len(rows), -1)
        for some in np.split(rows, range(ROWS, len(rows), ROWS)):
            left = np.zeros_like(some)
            left[:, self.pixel_bytes:] = some[:, :-self.pixel_bytes]
            above = np.concatenate([self.above, some[:-1]])
            self.above = some[-1:].copy()
            filtered = np.empty((len(some), 1 + some.shape[1]), np.uint8)
            filtered[:, 0] = AVERAGE
            # The average (left + above) // 2, computed without their sum, which needs a ninth bit.
            np.subtract(some, (left & above) + ((left ^ above) >> 1), out=filtered[:, 1:])
            self.chunk(b'IDAT', self.zlib.compress(filtered))

    def close(self):
        self.chunk(b'IDAT', self.zlib.flush())
        self.chunk(b'IEND', b'')

    def chunk(self, name, data):
        if data or name == b'IEND':
            self.file.write(chunk(name, data))
