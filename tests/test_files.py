"""Files are replaced whole or not at all, and without Paddle."""
import os
import subprocess
import sys

import pytest
from conftest import ROOT

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


def test_text_is_utf_8_and_bytes_that_are_not_text_do_not_end_the_writing(tmp_path):
    path = tmp_path / 'page.html'
    replace_text(str(path), '猫 \udcff\r\n')
    assert path.read_bytes() == '猫 ?\r\n'.encode()


def test_a_folder_is_locked_for_other_processes_until_this_one_lets_go(tmp_path):
    code = 'import sys; from storage import files; files.lock(sys.argv[1])'

    def other():
        return subprocess.run([sys.executable, '-c', code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)

    held = lock(str(tmp_path))
    assert 'another run is writing to %s' % tmp_path in other().stderr
    held.close()
    assert other().returncode == 0


def test_it_does_without_paddle():
    code = 'import sys; import storage.files; sys.exit("paddle" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], cwd=ROOT).returncode == 0
