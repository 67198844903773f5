"""Divide a picture file into what its pixels need and what it says about them.

PIL gives up a whole PNG, JPEG or WebP if one block beside the pixels is damaged or too long for it: a profile, an EXIF
block, a text. So PIL gets the pixels' blocks alone, and each other block is looked at by itself.
"""
import contextlib
import re
import struct
import warnings
import zlib

from PIL import Image

from reading import tiff

# Pillow opens no PNG in which a profile or a text takes more than this, unpacked, in bytes, or all texts 64 MB.
LARGEST_TEXT = 2 ** 20
LARGEST_TEXTS = 2 ** 25
LARGEST_PROFILE = 2 ** 24
# In metres: PNG counts pixels for each metre.
INCH = 0.0254
ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x0112, 0x011a, 0x011b, 0x0128
# EXIF's description, make, model, software, date, artist and copyright; its directories, of EXIF itself and of GPS.
EXIF_TEXTS = 0x010e, 0x010f, 0x0110, 0x0131, 0x0132, 0x013b, 0x8298
DIRECTORY = 0x8769
EXIF_DIRECTORIES = DIRECTORY, 0x8825

PNG = b'\x89PNG\r\n\x1a\n'
# Beside the critical chunks: the alpha of a palette, and an animation.
PNG_PIXELS = b'tRNS', b'acTL', b'fcTL', b'fdAT'
# The chunks that are as true of an enlarged picture, {name: its length, or None for any}: its colours and texts.
PNG_COPIED = {b'gAMA': 4, b'cHRM': 32, b'sRGB': 1, b'cICP': 4, b'tEXt': None, b'zTXt': None, b'iTXt': None}
PNG_TITLES = {b'iCCP': 'profile', b'eXIf': 'EXIF', b'pHYs': 'resolution', b'tEXt': 'text', b'zTXt': 'text',
              b'iTXt': 'text'}
XMP_KEY = b'XML:com.adobe.xmp'
XMP_MARK = b'http://ns.adobe.com/xap/1.0/\0'
EXIF_MARK = b'Exif\0\0'


class About:
    """What a file says about its pixels, each None if it says nothing.

    icc, xmp: bytes. exif: a PIL Exif. dpi: (x, y). chunks: [(name, content), ...] of a PNG, to be copied. key: the
    content of a PNG's chunk tRNS. text_bytes: the length of its texts. damaged: the names of what could not be read.
    """

    def __init__(self):
        self.icc = self.xmp = self.exif = self.dpi = self.key = None
        self.chunks = []
        self.text_bytes = 0
        self.damaged = []

    def take(self, what, read, content):
        """read(content); if that fails, note that `what` is damaged."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                read(content)
        except Exception:
            # Pillow raises almost any exception on a block of arbitrary bytes.
            if what not in self.damaged:
                self.damaged.append(what)

    def take_key(self, key, length):
        if len(key) != length:
            raise ValueError('of another length')
        self.key = key

    def take_icc(self, profile):
        if profile[36:40] != b'acsp':
            raise ValueError('not a profile')
        self.icc = self.icc or profile

    def take_exif(self, block):
        """block: EXIF as a TIFF file, perhaps behind its mark, which some programs write twice."""
        while block.startswith(EXIF_MARK):
            block = block[len(EXIF_MARK):]
        exif = Image.Exif()
        exif.load(EXIF_MARK + block)
        # Some values are decoded only now.
        dict(exif)
        self.exif = self.exif or exif

    def take_exif_dpi(self, exif):
        # The unit is inches unless it is said to be 1, none, or 3, centimetres.
        unit = exif.get(RESOLUTION_UNIT, 2)
        if X_RESOLUTION in exif and Y_RESOLUTION in exif and unit in (2, 3):
            self.take_dpi([float(exif[tag]) * (2.54 if unit == 3 else 1) for tag in (X_RESOLUTION, Y_RESOLUTION)])

    def orientation(self):
        """As EXIF counts it, 1 to 8. If EXIF says nothing, or no such number, XMP may."""
        found = re.search(rb'tiff:Orientation(?:="|>)([1-8])', self.xmp or b'')
        said = (self.exif or {}).get(ORIENTATION)
        return said if said in range(1, 9) else int(found.group(1)) if found else 1

    def take_dpi(self, dpi):
        """Neither 0/0 nor 1/0 nor what the formats have no room for."""
        if self.dpi is None and all(0.1 < value < 65535 for value in dpi):
            self.dpi = tuple(dpi)


def divide(file):
    """An open file -> (the bytes that hold its pixels alone, About); None, unread, if it has another format."""
    head = file.read(12)
    file.seek(0)
    one = (png if head.startswith(PNG) else jpeg if head.startswith(b'\xff\xd8') else
           webp if head.startswith(b'RIFF') and head[8:] == b'WEBP' else of_tiff if tiff.is_tiff(head) else None)
    if not one:
        return None
    about = About()
    pixels = one(file.read(), about)
    if about.exif is not None:
        # 1/0 is no resolution, rather than a damaged one.
        with contextlib.suppress(Exception):
            about.take_exif_dpi(about.exif)
    return pixels, about


# PNG

def png(data, about):
    kept, place, name = [PNG], len(PNG), None
    colours = data[25:26]
    while place + 12 <= len(data):
        length, name = struct.unpack_from('>I4s', data, place)
        content = data[place + 8:place + 8 + length]
        end = place + 12 + length
        if name == b'tRNS' and colours in (b'\0', b'\2'):
            about.take('transparency', lambda key: about.take_key(key, 2 if colours == b'\0' else 6), content)
        elif name[0] < ord('a') or name in PNG_PIXELS:
            kept.append(data[place:end])
        elif end <= len(data):
            about.take(PNG_TITLES.get(name, 'colours'), lambda chunk: png_chunk(*chunk, about),
                       (name, content, data[end - 4:end]))
        place = end
        if name == b'IEND':
            break
    # If it is cut off, PIL says so.
    return b''.join(kept + ([] if name == b'IEND' else [data[place:]]))


def png_chunk(name, content, checksum, about):
    if zlib.crc32(name + content) != struct.unpack('>I', checksum)[0]:
        raise ValueError('damaged')
    if name == b'iCCP':
        about.take_icc(unpacked(content.split(b'\0', 1)[1], LARGEST_PROFILE))
    elif name == b'eXIf':
        about.take_exif(content)
    elif name == b'pHYs':
        x, y, unit = struct.unpack('>2IB', content)
        if unit == 1:
            about.take_dpi([x * INCH, y * INCH])
    elif name in (b'tEXt', b'zTXt', b'iTXt'):
        png_text(name, content, about)
    elif name in PNG_COPIED:
        if len(content) != PNG_COPIED[name]:
            raise ValueError('of another length')
        about.chunks.append((name, content))


def png_text(name, content, about):
    key, rest = content.split(b'\0', 1)
    if name == b'zTXt':
        rest = unpacked(rest, LARGEST_TEXT)
    elif name == b'iTXt':
        packed, method, rest = rest[:1] == b'\1', rest[1:2], rest[2:].split(b'\0', 2)[2]
        rest = unpacked(method + rest, LARGEST_TEXT) if packed else rest
    about.text_bytes += len(rest)
    if about.text_bytes > LARGEST_TEXTS:
        raise ValueError('too long')
    if key == XMP_KEY:
        about.xmp = rest
    elif key.startswith(b'Raw profile type '):
        # ImageMagick's way to store EXIF and others: their name and length, then hexadecimal digits.
        if key.endswith((b'exif', b'APP1')):
            about.take_exif(bytes.fromhex(b''.join(rest.split()[2:]).decode('latin-1')))
    else:
        about.chunks.append((name, content))


def unpacked(content, most):
    """Decompress a PNG chunk's content: the method, a byte that is 0, and the data. Raises ValueError.

    It may not give more than `most` bytes. PIL reads no file with another method.
    """
    if content[:1] != b'\0':
        raise ValueError('compressed by an unknown method')
    stream = zlib.decompressobj()
    data = stream.decompress(content[1:], most + 1)
    if len(data) > most or not stream.eof:
        raise ValueError('too long, or cut off')
    return data


# JPEG

def jpeg(data, about):
    kept, place, profile = [data[:2]], 2, {}
    # Until the first scan: there the pixels begin.
    while place + 4 <= len(data) and data[place] == 0xff and data[place + 1] != 0xda:
        marker = data[place + 1]
        if marker == 0xff:
            place += 1
            continue
        end = place + 2 + struct.unpack_from('>H', data, place + 2)[0]
        content = data[place + 4:end]
        if marker == 0xe0 and content.startswith(b'JFIF\0') and len(content) >= 14:
            kept.append(data[place:end])
            unit, x, y = struct.unpack_from('>BHH', content, 7)
            if unit in (1, 2):
                about.take_dpi([x * (2.54 if unit == 2 else 1), y * (2.54 if unit == 2 else 1)])
        elif marker == 0xe1 and content.startswith(EXIF_MARK):
            about.take('EXIF', about.take_exif, content)
        elif marker == 0xe1 and content.startswith(XMP_MARK):
            about.xmp = content[len(XMP_MARK):]
        elif marker == 0xe2 and content.startswith(b'ICC_PROFILE\0'):
            profile[content[12:13]] = content[14:]
        elif not 0xe0 <= marker <= 0xef and marker != 0xfe or content.startswith(b'Adobe') and len(content) >= 12:
            kept.append(data[place:end])
        place = max(end, place + 2)
    if profile:
        about.take('profile', about.take_icc, b''.join(profile[number] for number in sorted(profile)))
    return b''.join(kept) + data[place:]


# WebP

def webp(data, about):
    kept, place = [], 12
    while place + 8 <= len(data):
        name, length = struct.unpack_from('<4sI', data, place)
        content = data[place + 8:place + 8 + length]
        end = place + 8 + length + length % 2
        if name == b'ICCP':
            about.take('profile', about.take_icc, content)
        elif name == b'EXIF':
            about.take('EXIF', about.take_exif, content)
        elif name == b'XMP ':
            about.xmp = content
        elif name == b'VP8X' and content:
            # Its first byte says which blocks there are: of these only those of alpha and animation stay.
            kept.append(data[place:place + 8] + bytes([content[0] & 0x12]) + data[place + 9:end])
        else:
            kept.append(data[place:end])
        place = end
    pixels = b''.join(kept)
    return b'RIFF' + struct.pack('<I', len(pixels) + 4) + b'WEBP' + pixels


# TIFF

def of_tiff(data, about):
    """A TIFF file is an EXIF block; the pixels are found by its tags, in tiff.py."""
    tags = tiff.Tags(data)
    # Directories of EXIF and GPS lie somewhere in the file; those of a BigTIFF have a format of its own.
    whole = not tags.is_big and any(tag in tags for tag in EXIF_DIRECTORIES)
    kept = *EXIF_TEXTS, ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT
    block = tags.file((*kept, *EXIF_DIRECTORIES)) if whole else tags.file(kept, data=b'')
    about.take('EXIF', about.take_exif, block.getvalue())
    if tiff.ICC in tags:
        about.take('profile', about.take_icc, tags.content(tiff.ICC))
    if tiff.XMP in tags:
        about.xmp = tags.content(tiff.XMP)
    return data


def enlarged_xmp(xmp, size):
    """XMP for an upright picture of `size` (width, height): it can repeat both."""
    for name, value in (('Orientation', 1), ('ImageWidth', size[0]), ('ImageLength', size[1]),
                        ('PixelXDimension', size[0]), ('PixelYDimension', size[1])):
        xmp = re.sub(rb'(:%s(?:\s*=\s*["\']|>))\d+' % name.encode(), rb'\g<1>%d' % value, xmp)
    return xmp
