"""Write enlarged pixels as a picture of the kind that was read, with what its file said about it."""
import io
import struct
import warnings

import numpy as np
from PIL import Image

from pictures.png_writer import HEAD, PngWriter, chunk
from reading.blocks import DIRECTORY, EXIF_DIRECTORIES, EXIF_MARK, EXIF_TEXTS, LARGEST_TEXT, XMP_KEY, enlarged_xmp
from reading.picture_file import cv2, flattened, plain_image

# What libjpeg writes; the format admits 65,535.
JPEG_SIDE = 65500
JPEG_QUALITY = 95
# What one block of a JPEG holds, in bytes.
JPEG_BLOCK = 65533

# Of a palette's 256 colours: how many may be those of areas, and how many opaque and other colours have at least.
EXACT, LEAST = 128, 32

# Tags in EXIF's own directory.
INTEROPERABILITY, EXIF_WIDTH, EXIF_HEIGHT = 0xa005, 0xa002, 0xa003


def to_image(pixels, mode):
    """pixels [H, W, C] as in a Picture -> a PIL image of the given mode. 16-bit pixels must be grey."""
    if mode == '1':
        return Image.fromarray(pixels[:, :, 0] >= 128)
    if pixels.dtype == np.uint16:
        image = Image.fromarray(pixels[:, :, 0])
        return image.convert('I') if mode == 'I' else image
    return with_palette(pixels) if mode == 'P' else plain_image(pixels, mode)


def with_palette(pixels):
    """uint8 RGB or RGBA [H, W, C] -> a PIL image with a palette of at most 256 colours.

    Colours that fill areas are kept exactly, the EXACT most frequent ones; PIL chooses colours for the other pixels.
    Its own palette of colours with alpha mixes opaque ones with others. So those that are opaque and those between
    opaque and transparent have parts of the palette for themselves.
    """
    rgba = pixels.copy() if pixels.shape[2] == 4 else np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    alpha = rgba[:, :, 3]
    rgba[alpha == 0] = 0
    numbers = rgba.view(np.uint32)[:, :, 0]
    flat = np.equal(*extremes(rgba, 1)).all(axis=2)
    colours, counts = np.unique(numbers[flat], return_counts=True)
    # A picture in which nothing is flat has a transparent entry that nothing uses.
    exact = np.union1d(colours[np.argsort(-counts, kind='stable')[:EXACT]], np.uint32(0))
    indices = np.searchsorted(exact, numbers).clip(max=len(exact) - 1).astype(np.uint8)
    palette = exact.tobytes()
    other = exact[indices] != numbers
    opaque, between = other & (alpha == 255), other & (alpha < 255)
    # Each of the two gets at least LEAST entries.
    left = 256 - len(exact)
    share = left
    if between.any():
        share = min(left - LEAST, max(LEAST, left * np.count_nonzero(opaque) // np.count_nonzero(other)))
    for part, channels, entries in ((opaque, 3, share), (between, 4, left - share)):
        if part.any():
            row = Image.fromarray(rgba[part][np.newaxis, :, :channels]).quantize(entries)
            indices[part] = np.asarray(row)[0] + len(palette) // 4
            palette += row.im.getpalette('RGBA', 'RGBA')[:4 * (np.asarray(row).max() + 1)]
    image = Image.fromarray(indices, 'P')
    if pixels.shape[2] == 4:
        image.putpalette(palette, 'RGBA')
    else:
        image.putpalette(np.frombuffer(palette, np.uint8).reshape(-1, 4)[:, :3].tobytes())
    return image


def extremes(pixels, radius):
    """The least and the greatest value of each channel, up to `radius` pixels away: two arrays, of OpenCV's shape."""
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    return cv2.erode(pixels, kernel), cv2.dilate(pixels, kernel)


def extension(picture, image_format):
    """The ending of the output file, for the format 'png' or 'jpg'. PNG has no CMYK, so TIFF takes its place."""
    return {'jpg': '.jpg', 'png': '.tif' if picture.mode == 'CMYK' else '.png'}[image_format]


def write_picture(file, strips, size, picture, file_extension):
    """Write a picture of `size` (width, height), given as `strips` [n, width, C] from top to bottom, to an open file.

    It gets the mode and the metadata of `picture`. What the format has no room for of its pixels, colours and EXIF
    becomes one of its notes; texts and XMP go into PNG alone. A PNG is written strip by strip; JPEG, TIFF, palettes and
    1-bit pictures are written by PIL, which needs the whole picture in memory.
    """
    about = picture.about
    kept, icc = kept_exif(about.exif, size, picture), about.icc
    exif = kept.tobytes() if len(kept) else None
    if file_extension == '.png':
        if icc and len(icc) > LARGEST_TEXT:
            picture.notes.append('without its profile, which is too long for programs that read PNG')
            icc = None
        chunks = [(name, content) for name, content in about.chunks if not (name == b'sRGB' and icc)]
        if about.xmp:
            chunks.append((b'iTXt', XMP_KEY + bytes(5) + enlarged_xmp(about.xmp, size)))
        if picture.mode not in ('P', '1'):
            writer = PngWriter(file, *size, picture.pixels.shape[2], 8 * picture.pixels.itemsize, about.dpi, icc,
                               exif and exif[len(EXIF_MARK):], chunks)
            for strip in strips:
                writer.write(strip)
                # Free it before the next strip is made.
                del strip
            return writer.close()
    pixels = np.concatenate(list(strips))
    options = {'dpi': about.dpi, 'icc_profile': icc, 'exif': exif}
    if file_extension == '.jpg':
        if exif and len(exif) > JPEG_BLOCK:
            picture.notes.append('without its EXIF, which is too long for JPEG')
            del options['exif']
        gamma = dict(about.chunks).get(b'gAMA')
        if gamma and not icc and b'sRGB' not in dict(about.chunks) and abs(gamma_of(gamma) - 1 / 2.2) > 0.01:
            picture.notes.append('without its gamma, %.3g, for which JPEG has no place' % gamma_of(gamma))
        if picture.has_alpha and picture.pixels[..., -1].min() < np.iinfo(picture.pixels.dtype).max:
            picture.notes.append('on white, because JPEG has no transparency')
        if picture.pixels.itemsize > 1:
            picture.notes.append('with 8 of its 16 bits, because JPEG has no more')
        # Colours in full resolution, 4:4:4.
        options.update(format='JPEG', quality=JPEG_QUALITY, subsampling=0)
        image = flattened(pixels, picture)
    elif file_extension == '.tif':
        # libtiff, which compresses, does not take the directories of Pillow's EXIF.
        compression = 'raw' if any(tag in kept for tag in EXIF_DIRECTORIES) else 'tiff_lzw'
        # Not as `exif`, of which Pillow's writer of TIFF makes texts and directories of its own.
        options.update(format='TIFF', compression=compression, tiffinfo=dict(kept), exif=None)
        image = to_image(pixels, picture.mode)
    else:
        options.update(format='PNG')
        image = to_image(pixels, picture.mode)
    options = {name: value for name, value in options.items() if value is not None}
    if file_extension != '.png':
        return image.save(file, **options)
    # Pillow leaves out chunks that it does not know.
    data = io.BytesIO()
    image.save(data, **options)
    file.write(data.getvalue()[:HEAD] + b''.join(chunk(*one) for one in chunks) + data.getvalue()[HEAD:])


def gamma_of(content):
    """The gamma in the content of a chunk gAMA."""
    return struct.unpack('>I', content)[0] / 100000


def kept_exif(exif, size, picture):
    """What of a PIL Exif, or of None, is true of the enlarged picture, of `size` (width, height), too: a PIL Exif.

    What cannot be written, because it is damaged, is left out, and becomes a note of `picture`.
    """
    kept = Image.Exif()
    for tag in (*EXIF_TEXTS, *EXIF_DIRECTORIES):
        if tag not in (exif or ()):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                kept[tag] = in_bytes(exif.get_ifd(tag)) if tag in EXIF_DIRECTORIES else in_bytes(exif[tag])
            if tag == DIRECTORY:
                kept[tag] = {**kept[tag], **{name: value for name, value in zip((EXIF_WIDTH, EXIF_HEIGHT), size)
                                             if name in kept[tag]}}
                if INTEROPERABILITY in kept[tag]:
                    kept[tag][INTEROPERABILITY] = exif.get_ifd(INTEROPERABILITY)
            kept.tobytes()
        except Exception:
            # Pillow raises almost any exception on values that are not of their tag's type.
            kept.pop(tag, None)
            note = 'without a part of its EXIF, damaged'
            picture.notes += [note] if note not in picture.notes else []
    return kept


class Text(str):
    """A text of EXIF as Pillow reads it, a character for each byte, and would write it as ASCII alone."""

    def encode(self, *_):
        return super().encode('latin-1')


def in_bytes(value):
    """A value of EXIF, or a directory of values, in which each text is a Text."""
    if isinstance(value, dict):
        return {tag: in_bytes(one) for tag, one in value.items()}
    return Text(value) if isinstance(value, str) else value
