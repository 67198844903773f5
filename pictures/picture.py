"""Read a picture file of any kind into a Picture, and write enlarged pixels as a picture of the same kind."""
import struct

import cv2
import numpy as np
from PIL import Image

from data_utils import UNREADABLE, UnreadableImage, reason
from pictures.png_writer import PngWriter

# PIL's limit: a file of more pixels may be a decompression bomb.
MAX_PIXELS = 2 * Image.MAX_IMAGE_PIXELS
JPEG_SIDE = 65535
JPEG_QUALITY = 95
# Rows of a PIL image that are converted at once.
STRIP = 256

ORIENTATION = 0x0112
# The EXIF tags that are true of the enlarged picture too: description, make, model, software, date, artist, copyright,
# and the directories of EXIF and GPS.
EXIF_TAGS = 0x010e, 0x010f, 0x0110, 0x0131, 0x0132, 0x013b, 0x8298, 0x8769, 0x8825
# {EXIF orientation: function that turns the stored pixels upright}.
UPRIGHT = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}


class Picture:
    """pixels: uint8 or uint16 [H, W, C], C: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha or CMYK.

    mode: the PIL mode in which the enlarged picture is written. dpi, icc, exif: as PIL's `save` takes them, or None.
    note: which part of the file was read, if not all of it, or None.
    """

    def __init__(self, pixels, mode, dpi=None, icc=None, exif=None, note=None):
        self.pixels = pixels
        self.mode = mode
        self.dpi = dpi
        self.icc = icc
        self.exif = exif
        self.note = note

    @property
    def has_alpha(self):
        return self.pixels.shape[2] in (2, 4) and self.mode != 'CMYK'


# Reading

def read_picture(path, max_pixels=MAX_PIXELS):
    """The first picture of a file, turned upright, as a Picture.

    Raises UnreadableImage if it cannot be read or has more than max_pixels pixels.
    """
    # max_pixels takes the place of PIL's own limit.
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(path) as image:
            if image.width * image.height > max_pixels:
                raise UnreadableImage('%s: %d x %d pixels may be a decompression bomb; --huge allows them' % (
                    path, image.width, image.height))
            deep = has_16_bit_colours(image)
            frames = getattr(image, 'n_frames', 1)
            image.load()
            picture = from_image(image)
            if deep:
                picture.pixels = read_16_bits(path, picture.pixels.shape[2])
            exif = image.getexif()
            if exif.get(ORIENTATION) in UPRIGHT:
                picture.pixels = np.ascontiguousarray(UPRIGHT[exif[ORIENTATION]](picture.pixels))
            picture.exif = exif_bytes(exif)
            if frames > 1:
                picture.note = 'the first of its %d pictures' % frames
            return picture
    except UNREADABLE as error:
        raise UnreadableImage('%s: %s' % (path, reason(error, path)))
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def from_image(image):
    """A PIL image as a Picture. Raises ValueError if its pixels have more than 16 bits for each colour."""
    mode, info = image.mode, image.info
    if mode == 'F' or mode == 'I' and not 0 <= min(image.getextrema()) <= max(image.getextrema()) <= 65535:
        raise ValueError('its pixels have more than 16 bits; convert it first')
    has_transparency = mode == 'PA' or 'transparency' in info
    stored = mode
    if mode in ('P', 'PA'):
        mode, stored = 'P', 'RGBA' if has_transparency else 'RGB'
    elif mode == '1':
        stored = 'L'
    elif mode in ('L', 'RGB') and has_transparency:
        mode = stored = mode + 'A'
    elif mode not in ('L', 'LA', 'RGB', 'RGBA', 'CMYK') and not mode.startswith('I'):
        mode = stored = {'La': 'LA', 'RGBa': 'RGBA'}.get(mode, 'RGB')
    return Picture(pixels_of(image, stored), mode, info.get('dpi'), info.get('icc_profile'))


def pixels_of(image, mode):
    """The pixels [H, W, C] of a PIL image, converted to `mode`.

    They are converted strip by strip, because PIL holds two further copies of what it converts.
    """
    pixels = None
    for top in range(0, image.height, STRIP):
        strip = image.crop((0, top, image.width, min(top + STRIP, image.height)))
        strip = np.asarray(strip if strip.mode == mode else strip.convert(mode))
        strip = strip.reshape(strip.shape[0], strip.shape[1], -1)
        if pixels is None:
            pixels = np.empty((image.height,) + strip.shape[1:], np.uint16 if mode.startswith('I') else np.uint8)
        pixels[top:top + len(strip)] = strip
    return pixels


def has_16_bit_colours(image):
    """Whether an opened file has 16 bits for each colour, of which PIL silently keeps only eight."""
    return not image.mode.startswith('I') and any(';16' in str(tile[3]) for tile in image.tile)


def read_16_bits(path, channels):
    """The pixels uint16 [H, W, channels] of a file. Raises ValueError if OpenCV does not read it in 16 bits."""
    # Not cv2.imread, which on some systems opens no file with a name outside ASCII.
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError('OpenCV does not read its 16-bit pixels')
    pixels = pixels.reshape(pixels.shape[:2] + (-1,))
    if pixels.shape[2] >= 3:
        pixels = pixels[:, :, [2, 1, 0, 3][:pixels.shape[2]]]
    # OpenCV reads grey with alpha as four channels.
    return pixels[:, :, [0, -1]] if channels == 2 else pixels


def exif_bytes(exif):
    """PIL's EXIF reduced to EXIF_TAGS, as bytes; None if it has none of them or is damaged."""
    for tag in set(exif) - set(EXIF_TAGS):
        del exif[tag]
    try:
        return exif.tobytes() if len(exif) else None
    except (struct.error, TypeError, ValueError, KeyError, AttributeError, NotImplementedError):
        return None


# Writing

def to_image(pixels, mode):
    """pixels [H, W, C] as in a Picture -> a PIL image of the given mode. 16-bit pixels must be grey."""
    if mode == '1':
        return Image.fromarray(pixels[:, :, 0] >= 128)
    if pixels.dtype == np.uint16:
        image = Image.fromarray(pixels[:, :, 0])
        return image.convert('I') if mode == 'I' else image
    plain = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels, 'CMYK' if mode == 'CMYK' else None)
    return plain.quantize() if mode == 'P' else plain


def extension(picture, image_format):
    """The ending of the output file, for the format 'png' or 'jpg'. PNG has no CMYK, so TIFF takes its place."""
    return {'jpg': '.jpg', 'png': '.tif' if picture.mode == 'CMYK' else '.png'}[image_format]


def write_picture(file, strips, size, picture, file_extension):
    """Write a picture of `size` (width, height), given as `strips` [n, width, C] from top to bottom, to an open file.

    It gets the mode, profile, EXIF and DPI of `picture`. A PNG is written strip by strip; JPEG, TIFF, palettes and
    1-bit pictures are written by PIL, which needs the whole picture in memory.
    """
    if file_extension == '.png' and picture.mode not in ('P', '1'):
        bits = 8 * picture.pixels.itemsize
        exif = picture.exif and picture.exif[len(b'Exif\0\0'):]
        writer = PngWriter(file, *size, picture.pixels.shape[2], bits, picture.dpi, picture.icc, exif)
        for strip in strips:
            writer.write(strip)
            # Free it before the next strip is made.
            del strip
        return writer.close()
    pixels = np.concatenate(list(strips))
    options = {'dpi': picture.dpi, 'icc_profile': picture.icc, 'exif': picture.exif}
    if file_extension == '.jpg':
        options.update(format='JPEG', quality=JPEG_QUALITY)
        image = for_jpeg(pixels, picture)
    else:
        options.update({'format': 'TIFF', 'compression': 'tiff_lzw'} if file_extension == '.tif' else {'format': 'PNG'})
        image = to_image(pixels, picture.mode)
    image.save(file, **{name: value for name, value in options.items() if value})


def to_rgb(pixels, picture):
    """The pixels as uint8 RGB [H, W, 3], transparent ones over grey, on which black and white can both be seen."""
    return np.asarray(for_jpeg(pixels, picture, 'grey').convert('RGB'))


def for_jpeg(pixels, picture, ground='white'):
    """pixels [H, W, C] -> a PIL image that JPEG can hold: 8 bits, transparent pixels over the colour `ground`."""
    if pixels.dtype == np.uint16:
        pixels = (pixels / 257 + 0.5).astype(np.uint8)
    image = to_image(pixels, 'CMYK' if picture.mode == 'CMYK' else 'RGB')
    if picture.has_alpha:
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, ground), image)
    return image if image.mode in ('L', 'CMYK') else image.convert('L' if pixels.shape[2] < 3 else 'RGB')
