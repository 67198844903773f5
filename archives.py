"""Unpack archives of pictures, as AI Studio mounts them under data/, each only once.

    python archives.py                  the zip and tar archives in data/ and its sub-folders into work/pictures/
    python archives.py FOLDER -o DIR    those in FOLDER and its sub-folders into DIR
"""
import os
import shutil
import sys
import tarfile
import zipfile

from cli import command
from cli.command import RunError, UsageError
from cli.progress import Bar
from reading.folders import EXTENSIONS, walk
from storage.files import beside

SUFFIXES = ('.zip', '.tar', '.tar.gz', '.tgz', '.tar.bz2', '.tar.xz')


def main(argv):
    parser = command.Parser(prog='archives.py', description=__doc__)
    parser.add_argument('folder', nargs='?', default='data', help='folder to search, with sub-folders (data)')
    parser.add_argument('-o', '--output', metavar='DIR', default=os.path.join('work', 'pictures'),
                        help='folder in which each archive gets a folder (work/pictures)')
    options = parser.parse_args(argv)
    if not os.path.isdir(options.folder):
        raise UsageError('%s is not a folder' % options.folder)
    folders = unpack_all(options.folder, options.output)
    print('\n'.join(folders) if folders else 'no archive in %s (%s)' % (options.folder, ' '.join(SUFFIXES)))


def unpack_all(folder, output):
    """Unpack every archive below `folder` -> the folders in `output` that hold their pictures.

    Folders that were unpacked before are left as they are; folders that cannot be read are named on stderr. Raises
    UsageError if an archive cannot be read or two would have one folder, RunError if the disk has no room for it.
    """
    archives, unreadable = {}, []
    for path in walk(folder, unreadable):
        name = os.path.basename(path)
        suffix = max((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), key=len, default=None)
        if suffix:
            parts = os.path.relpath(path[:-len(suffix)], folder).split(os.sep)
            target = os.path.join(output, '_'.join(parts))
            if archives.setdefault(target, path) != path:
                raise UsageError('%s and %s would both become %s; rename one' % (archives[target], path, target))
    for path in unreadable:
        print('left out: %s, which cannot be read' % path, file=sys.stderr)
    for target, path in archives.items():
        unpack(path, target)
    return list(archives)


def unpack(path, folder):
    """Unpack the pictures of the archive `path` into `folder`, which afterwards is complete or does not exist.

    Files without the endings of pictures, names that lead out of the folder, links and devices are left out.
    """
    if os.path.isdir(folder):
        return
    with beside(folder, os.mkdir) as new:
        extract(path, new)
        try:
            os.rename(new, folder)
        except OSError:
            # Another process has unpacked it meanwhile.
            if not os.path.isdir(folder):
                raise


def extract(path, folder):
    try:
        is_zip = path.lower().endswith('.zip')
        with zipfile.ZipFile(path) if is_zip else tarfile.open(path, tarinfo=Member) as archive:
            pictures = [picture for picture in pictures_of(archive) if is_inside(picture[0])]
            size, free = sum(size for _, size, _ in pictures), shutil.disk_usage(folder).free
            if size > free:
                raise RunError('%s: its pictures take %d MB, and the disk has %d MB left' % (
                    path, size >> 20, free >> 20))
            with Bar(total=size, unit='B', unit_scale=True, desc=os.path.basename(path)) as bar:
                for name, size, open_picture in pictures:
                    target = os.path.join(folder, name)
                    os.makedirs(os.path.dirname(target), exist_ok=True)
                    with open_picture() as source, open(target, 'wb') as file:
                        shutil.copyfileobj(source, file, 2 ** 20)
                    bar.update(size)
    except Exception as error:
        # zipfile and tarfile raise exceptions of many types on damaged archives, and RuntimeError without a password.
        # Also a truncated gzip file is an OSError, but one without a number.
        if isinstance(error, RunError) or isinstance(error, OSError) and error.errno:
            raise
        raise UsageError('%s cannot be unpacked (%s); upload it again' % (path, ' '.join(str(error).split())))


class Member(tarfile.TarInfo):
    """A member of a tar file, at the end of which there must be an end mark; tarfile alone does without."""

    @classmethod
    def fromtarfile(cls, archive):
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError('damaged or cut off: %s' % error)


def pictures_of(archive):
    """[(name, size in bytes, function that opens it), ...] of the pictures in an archive."""
    if isinstance(archive, zipfile.ZipFile):
        files = [(zip_name(info), info.file_size, lambda info=info: archive.open(info)) for info in archive.infolist()
                 if not info.filename.endswith('/')]
    else:
        files = [(info.name, info.size, lambda info=info: archive.extractfile(info)) for info in archive
                 if info.isfile()]
    return [file for file in files if file[0].lower().endswith(EXTENSIONS) and '__MACOSX' not in file[0]]


def zip_name(info):
    """The name of a member of a zip file. Without the flag for UTF-8, zipfile reads it as code page 437.

    Archives made in China before UTF-8 hold GBK, so such a name is read again as GBK.
    """
    if info.flag_bits & 0x800:
        return info.filename
    try:
        return info.filename.encode('cp437').decode('gbk')
    except UnicodeError:
        return info.filename


def is_inside(name):
    """Whether a relative path stays inside the folder that it starts from."""
    name = name.replace('\\', '/')
    return not name.startswith('/') and '..' not in name.split('/')


if __name__ == '__main__':
    sys.exit(command.run(main))
