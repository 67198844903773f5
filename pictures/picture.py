"""Write enlarged pixels as a picture of the kind that was read, with what its file said about it."""
import struct
import warnings

import numpy as np
from PIL import Image, PngImagePlugin

from pictures.png_writer import PngWriter
from reading.blocks import DIRECTORY, EXIF_DIRECTORIES, EXIF_MARK, EXIF_TEXTS, LARGEST_TEXT, XMP_KEY, enlarged_xmp
from reading.picture_file import flattened, plain_image

# What libjpeg writes; the format admits 65,535.
JPEG_SIDE = 65500
JPEG_QUALITY = 95
# What one block of a JPEG holds, in bytes.
JPEG_BLOCK = 65533

# Tags in EXIF's own directory.
INTEROPERABILITY, EXIF_WIDTH, EXIF_HEIGHT = 0xa005, 0xa002, 0xa003


def to_image(pixels, mode):
    """pixels [H, W, C] as in a Picture -> a PIL image of the given mode. 16-bit pixels must be grey."""
    if mode == '1':
        return Image.fromarray(pixels[:, :, 0] >= 128)
    if pixels.dtype == np.uint16:
        image = Image.fromarray(pixels[:, :, 0])
        return image.convert('I') if mode == 'I' else image
    plain = plain_image(pixels, mode)
    if mode != 'P':
        return plain
    return plain.quantize() if plain.mode == 'RGB' else with_palette(pixels)


def with_palette(pixels):
    """uint8 RGBA [H, W, 4] -> a PIL image with a palette of at most 256 colours, in which opaque stays opaque.

    PIL's own palette of colours with alpha mixes opaque ones with others. So those that are opaque, those that are
    transparent and those between have parts of the palette for themselves.
    """
    alpha = pixels[:, :, 3]
    opaque, between = alpha == 255, (alpha > 0) & (alpha < 255)
    # The first entry is the transparent one. Each of the other parts gets 32 entries or more.
    indices, palette = np.zeros(alpha.shape, np.uint8), bytes(4)
    share = 255 * np.count_nonzero(opaque) // max(1, np.count_nonzero(alpha))
    share = min(223, max(32, share)) if between.any() else 255
    for part, channels, entries in ((opaque, 3, share), (between, 4, 255 - share)):
        if part.any():
            row = Image.fromarray(pixels[part][np.newaxis, :, :channels]).quantize(entries)
            indices[part] = np.asarray(row)[0] + len(palette) // 4
            palette += row.im.getpalette('RGBA', 'RGBA')[:4 * (np.asarray(row).max() + 1)]
    image = Image.fromarray(indices, 'P')
    image.putpalette(palette, 'RGBA')
    return image


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
    exif, icc = exif_bytes(about.exif, size, picture), about.icc
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
        options.update(format='TIFF', compression='tiff_lzw')
        image = to_image(pixels, picture.mode)
    else:
        options.update(format='PNG', pnginfo=PngImagePlugin.PngInfo())
        for chunk in chunks:
            options['pnginfo'].add(*chunk)
        image = to_image(pixels, picture.mode)
    image.save(file, **{name: value for name, value in options.items() if value is not None})


def gamma_of(content):
    """The gamma in the content of a chunk gAMA."""
    return struct.unpack('>I', content)[0] / 100000


def exif_bytes(exif, size, picture):
    """What of a PIL Exif is true of the enlarged picture, of `size` (width, height), too, as bytes; None if nothing is.

    What cannot be written, because it is damaged, is left out, and becomes a note of `picture`.
    """
    kept = Image.Exif()
    for tag in (*EXIF_TEXTS, *EXIF_DIRECTORIES):
        if tag not in (exif or ()):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                kept[tag] = exif.get_ifd(tag) if tag in EXIF_DIRECTORIES else exif[tag]
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
    return kept.tobytes() if len(kept) else None
