"""Files that are whole or not there, whatever interrupts the writing, and folders that one process holds at a time."""
import contextlib
import fcntl
import os

from cli.command import UsageError

# Weights and networks that are read lie beside the code, whatever the current folder is.
PRETRAINED = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'pretrained')


def replace_file(path, write):
    """Give `path` the content that write(file) writes to a binary file, once all of it is on the disk.

    Whatever fails, the earlier content stays. Raises OSError.
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
    """Give `path` the content `text`, as UTF-8, as replace_file does. Raises OSError."""
    # A file's name, which the text may tell, can hold bytes that are not text.
    replace_file(path, lambda file: file.write(text.encode('utf-8', 'replace')))


def sync(path):
    """Have the disk hold what was written to a file or directory. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock(folder):
    """Hold a folder for this process alone until it ends, however it ends. Raises UsageError if another one does.

    Returns the open file; the lock lasts as long as it.
    """
    os.makedirs(folder, exist_ok=True)
    file = open(os.path.join(folder, '.lock'), 'w')
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError('another run is writing to %s; let it end, or choose other folders with --models and --output'
                         % folder)
    return file
