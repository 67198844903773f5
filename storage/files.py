"""Atomic writing of files, and a lock that reserves a folder for one process."""
import contextlib
import fcntl
import os

from cli.command import UsageError

# The weights and networks to read lie beside the code, whatever the current folder is.
PRETRAINED = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'pretrained')


def replace_file(path, write):
    """Replace the content of `path` by the bytes that write(file) writes, once all of them are on the disk.

    If anything fails, the earlier content stays. Raises OSError.
    """
    new = path + '.new'
    try:
        with open(new, 'wb') as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(new)
        raise
    sync(os.path.dirname(os.path.abspath(path)))


def replace_text(path, text):
    """Replace the content of `path` by `text` in UTF-8, as replace_file does. Raises OSError."""
    # The text may contain the name of a file, and such a name may have bytes that are not valid text.
    replace_file(path, lambda file: file.write(text.encode('utf-8', 'replace')))


def sync(path):
    """Wait until the content of a file or directory is on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock(folder):
    """Reserve a folder for this process; create the folder if it does not exist.

    Returns an open file: the lock ends when that is closed, at the latest with the process, even if it is killed.
    Raises UsageError if another process has the lock.
    """
    os.makedirs(folder, exist_ok=True)
    file = open(os.path.join(folder, '.lock'), 'w')
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError('another run is writing to %s; let it end, or choose other folders with --models and --output'
                         % folder)
    return file
