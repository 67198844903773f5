"""Files are replaced whole or not at all, and without Paddle."""
import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from storage.files import lock, replace_file, replace_text


def test_a_writer_that_fails_leaves_the_earlier_content_and_nothing_else(tmp_path):
    path = tmp_path / 'scores.json'
    replace_text(str(path), 'earlier')

    def write(file):
        file.write(b'half of')
        raise OSError('disk full')

    with pytest.raises(OSError, match='disk full'):
        replace_file(str(path), write)
    assert path.read_text() == 'earlier'
    assert os.listdir(str(tmp_path)) == ['scores.json']


def test_pillow_notices_a_full_disk(tmp_path):
    """By the descriptor of a file it would write what there is room for, and say nothing."""
    picture = Image.fromarray(np.random.RandomState(0).randint(0, 256, (200, 200, 3)).astype(np.uint8))
    # As on a disk without room, no file may become larger than this.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        for form in ('JPEG', 'TIFF', 'PNG'):
            with pytest.raises(OSError, match='File too large'):
                replace_file(str(tmp_path / 'a'), lambda file, form=form: picture.save(file, form))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not os.listdir(str(tmp_path))


def test_two_writers_at_once_do_not_meet(tmp_path):
    """Each writes a file of its own; the later one replaces the other's whole, or is told that it is there."""
    path = tmp_path / ('x' * 251 + '.png')

    def write(file):
        file.write(b'first')
        with pytest.raises(FileExistsError):
            replace_file(str(path), later, overwrite=False)
        replace_file(str(path), later)
        assert path.read_bytes() == b'later'
        file.write(b' and whole')

    def later(file):
        path.write_bytes(b'a third one')
        file.write(b'later')

    replace_file(str(path), write)
    assert path.read_bytes() == b'first and whole' and os.listdir(str(tmp_path)) == [path.name]


def test_what_a_killed_writer_leaves_is_removed_by_the_next_and_what_a_living_one_writes_is_not(tmp_path):
    code = ('import os, signal, sys; from storage import files\n'
            'files.replace_file(sys.argv[1], lambda file: os.kill(os.getpid(), signal.SIGKILL))')
    path = str(tmp_path / 'a.png')
    for name in ('a.png', 'b.png'):
        subprocess.run([sys.executable, '-c', code, str(tmp_path / name)], cwd=ROOT)
    assert len(os.listdir(str(tmp_path))) == 2
    seen = []
    replace_file(path, lambda file: replace_file(path, lambda _: seen.append(len(os.listdir(str(tmp_path))))))
    # The two that write, and what is left of b.png.
    assert seen == [3]
    assert len(os.listdir(str(tmp_path))) == 2 and os.path.getsize(path) == 0


def test_text_is_utf_8_and_bytes_that_are_not_text_do_not_end_the_writing(tmp_path):
    path = tmp_path / 'page.html'
    replace_text(str(path), '猫 \udcff\r\n')
    assert path.read_bytes() == '猫 ?\r\n'.encode()


def test_a_folder_is_locked_for_other_processes_until_this_one_lets_go(tmp_path):
    code = 'import sys; from storage import files; files.lock(sys.argv[1]).__enter__()'

    def other():
        return subprocess.run([sys.executable, '-c', code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)

    with lock(str(tmp_path)):
        assert 'another run is writing to %s' % tmp_path in other().stderr
    assert other().returncode == 0


def test_it_does_without_paddle():
    code = 'import sys; import storage.files; sys.exit("paddle" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], cwd=ROOT).returncode == 0


def test_a_file_system_without_locks_is_not_called_another_run(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    monkeypatch.setattr(fcntl, 'flock', refuse)
    with pytest.raises(OSError, match='No locks available'):
        with lock(str(tmp_path)):
            pass
