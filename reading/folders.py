"""Find the files in a folder, with its sub-folders and what its links lead to."""
import os

# The endings of pictures for training and measuring. Without .gif, whose 256 dithered colours are useless for both.
EXTENSIONS = ('.png', '.apng', '.jpg', '.jpeg', '.jpe', '.jfif', '.bmp', '.dib', '.tif', '.tiff', '.webp', '.jp2',
              '.j2k', '.tga', '.ppm', '.pgm', '.pbm', '.pnm')
# Endings of pictures that are not taken from folders, because they cannot be read, or seldom.
OTHERS = ('.arw', '.avif', '.cr2', '.cr3', '.dds', '.dng', '.eps', '.exr', '.hdr', '.heic', '.heif', '.icns', '.jxl',
          '.nef', '.orf', '.pdf', '.psd', '.raf', '.rw2', '.sgi', '.svg', '.wmf', '.xcf')


def walk(folder, unreadable=None):
    """Yield the paths of the files in a folder and its sub-folders, sorted by folder, hidden files left out.

    Links to folders are followed, and each folder is visited once, so loops of links end, and no picture of a folder
    counts twice. Pipes and devices are left out; a link to nothing is not. unreadable: a list, to which the folders
    that cannot be read are added.
    """
    unreadable = [] if unreadable is None else unreadable
    seen, waiting = set(), [folder]
    while waiting:
        links = []
        for root, folders, names in os.walk(waiting.pop(0), onerror=lambda error: unreadable.append(error.filename)):
            status = os.stat(root)
            if (status.st_dev, status.st_ino) in seen:
                del folders[:]
                continue
            seen.add((status.st_dev, status.st_ino))
            folders.sort()
            # os.walk does not enter links. What they lead to comes after what lies in the folder itself.
            links += [path for path in (os.path.join(root, name) for name in folders) if os.path.islink(path)]
            for name in sorted(names):
                path = os.path.join(root, name)
                if not name.startswith('.') and (os.path.isfile(path) or not os.path.exists(path)):
                    yield path
        waiting += links


def not_taken(folder):
    """What neither training nor measuring takes from a folder -> (pictures of other kinds, unreadable folders), paths.

    Of other kinds: OTHERS, and .gif.
    """
    unreadable = []
    pictures = [path for path in walk(folder, unreadable) if path.lower().endswith(OTHERS + ('.gif',))]
    return pictures, unreadable
