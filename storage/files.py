"""Atomic writing of files, and a lock that reserves a folder for one process."""
import contextlib
import errno
import fcntl
import io
import os
import secrets
import shutil
import zlib

from cli.command import UsageError

# The weights and networks to read lie beside the code, whatever the current folder is.
PRETRAINED = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'pretrained')


def replace_file(path, write, overwrite=True):
    """Replace the content of `path` by the bytes that write(file) writes, once all of them are on the disk.

    Its folder is made if it does not exist. If anything fails, the earlier content stays. Raises OSError; without
    `overwrite`, FileExistsError if `path` exists, even if another process has written it meanwhile.
    """
    try:
        with beside(path, lambda new: open(new, 'xb').close()) as new:
            with NewFile(open(new, 'wb', buffering=0)) as file:
                write(file)
                file.flush()
                os.fsync(file.raw.fileno())
            if not overwrite:
                reserve(new, path)
            os.replace(new, path)
    except OSError as error:
        # The name of the temporary file says nothing to the user.
        if os.path.basename(str(error.filename)).startswith(mark_of(path)):
            error.filename = path
        raise
    sync(os.path.dirname(os.path.abspath(path)))


class NewFile(io.BufferedWriter):
    """A file without a descriptor: Pillow would write to that by itself, and take a full disk for success."""

    def fileno(self):
        raise io.UnsupportedOperation('fileno')


def reserve(new, path):
    """Let `path` be the file `new` too. Raises FileExistsError if it exists."""
    try:
        os.link(new, path)
    except FileExistsError:
        raise
    except OSError:
        # This file system has no links, so the two steps are not one.
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)


@contextlib.contextmanager
def beside(path, make):
    """A context with the name of a new file or folder beside `path`, which make(name) makes; their folder is made too.

    No other process has this name, and it is short, however long that of `path` is. What is still there at the end is
    removed. So is what killed processes have left there for the same `path`: theirs is no longer locked.
    """
    folder, mark = os.path.dirname(os.path.abspath(path)), mark_of(path)
    os.makedirs(folder, exist_ok=True)
    for other in os.listdir(folder):
        if other.startswith(mark) and other.endswith('.new'):
            with locked(os.path.join(folder, other)) as is_left:
                if is_left:
                    remove(os.path.join(folder, other))
    while True:
        new = os.path.join(folder, '%s%s.new' % (mark, secrets.token_hex(4)))
        make(new)
        with locked(new, wait=True):
            # Before it was locked, another process may have taken it for left, and removed it.
            if os.path.exists(new):
                try:
                    yield new
                finally:
                    remove(new)
                return


def mark_of(path):
    """How the names of the temporary files for `path` begin."""
    return '.%08x-' % zlib.crc32(os.fsencode(os.path.basename(os.path.abspath(path))))


@contextlib.contextmanager
def locked(path, wait=False):
    """A context that locks a file or folder; its value says whether it has the lock. wait: until others let go."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            is_locked = True
        except OSError:
            is_locked = False
        yield is_locked
    finally:
        os.close(descriptor)


def remove(path):
    """Remove a file or folder, as far as that is possible."""
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.remove(path)


def replace_text(path, text):
    """Replace the content of `path` by `text` in UTF-8, as replace_file does. Raises OSError."""
    # The text may contain the name of a file, and such a name may have bytes that are not valid text.
    replace_file(path, lambda file: file.write(text.encode('utf-8', 'replace')))


def holds(folder, path):
    """Whether `path` is the folder or lies in it, through links too."""
    folder = os.path.realpath(folder)
    return os.path.commonpath([folder, os.path.realpath(path)]) == folder


def sync(path):
    """Wait until the content of a file or directory is on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def lock(folder):
    """A context that reserves a folder for this process, until its end even if the process is killed.

    Creates the folder if it does not exist. Raises UsageError if another process has reserved it.
    """
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, '.lock'), 'w') as file:
        try:
            # Not `locked`, to which a file system that has no locks is the same as another process.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError('another run is writing to %s; let it end, or choose other folders with --models and '
                             '--output' % folder)
        yield
