"""archives.py: pictures out of archives of all kinds, once, and nothing anywhere else."""
import argparse
import io
import os
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

import archives
from cli.command import RunError, UsageError


def png(seed=0):
    data = io.BytesIO()
    Image.fromarray(np.random.RandomState(seed).randint(0, 256, (40, 40, 3)).astype(np.uint8)).save(data, 'PNG')
    return data.getvalue()


def make_zip(path, members):
    with zipfile.ZipFile(str(path), 'w') as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def make_tar(path, members):
    with tarfile.open(str(path), 'w:gz' if str(path).endswith('gz') else 'w') as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def files(folder):
    return {os.path.relpath(os.path.join(root, name), str(folder)) for root, _, names in os.walk(str(folder))
            for name in names}


@pytest.fixture
def unpack(tmp_path, monkeypatch):
    """unpack() does what the command does, in tmp_path."""
    monkeypatch.chdir(str(tmp_path))
    (tmp_path / 'data').mkdir(exist_ok=True)
    return lambda: archives.unpack_all('data', 'work/pictures')


@pytest.fixture
def datasets(tmp_path):
    """As AI Studio has them: data/data12345/some.zip."""
    for name in ('data12345', 'data678'):
        (tmp_path / 'data' / name).mkdir(parents=True)
    make_zip(tmp_path / 'data' / 'data12345' / 'some.zip', {
        'train/a photo.png': png(1), 'train/照片.png': png(2), 'readme.txt': b'no picture',
        '__MACOSX/train/._a.png': b'x'})
    make_tar(tmp_path / 'data' / 'data678' / 'more.tar.gz', {'b.jpg': png(3), 'deep/er/c.PNG': png(4)})
    return tmp_path


WANTED = {'data12345_some/train/a photo.png', 'data12345_some/train/照片.png', 'data678_more/b.jpg',
          'data678_more/deep/er/c.PNG'}


def test_every_archive_gives_its_pictures(run, datasets):
    result = run('archives.py')
    assert result.code == 0, result.err
    assert result.out.splitlines() == ['work/pictures/data12345_some', 'work/pictures/data678_more']
    assert files(datasets / 'work' / 'pictures') == WANTED
    assert (datasets / 'work' / 'pictures' / 'data12345_some' / 'train' / '照片.png').read_bytes() == png(2)


def test_a_second_time_unpacks_nothing(unpack, datasets):
    unpack()
    kept = datasets / 'work' / 'pictures' / 'data678_more' / 'b.jpg'
    kept.write_bytes(b'mine')
    assert unpack() == ['work/pictures/data12345_some', 'work/pictures/data678_more']
    assert kept.read_bytes() == b'mine'


def test_two_archives_for_one_folder_are_named_and_not_unpacked(run, datasets):
    (datasets / 'data' / 'data678_more.tar').write_bytes(b'')
    assert run('archives.py').is_one_line(2, 'data678_more.tar', 'both become work/pictures/data678_more')
    assert not (datasets / 'work').exists()


def test_names_in_gbk_are_read(unpack, tmp_path):
    name = '风景/山.png'

    class Gbk(zipfile.ZipInfo):
        def _encodeFilenameFlags(self):
            return name.encode('gbk'), self.flag_bits & ~0x800

    with zipfile.ZipFile(str(tmp_path / 'data' / 'x.zip'), 'w') as archive:
        archive.writestr(Gbk(name), png())
    unpack()
    assert files(tmp_path / 'work' / 'pictures') == {'x/风景/山.png'}


def test_nothing_is_written_outside(unpack, tmp_path):
    evil = {'../../evil.png': png(), '/tmp/evil-of-srgan.png': png(), 'a/../../../../evil.png': png(),
            '..\\evil.png': png(), 'good at 12:30.png': png()}
    make_zip(tmp_path / 'data' / 'evil.zip', evil)
    with tarfile.open(str(tmp_path / 'data' / 'links.tar'), 'w') as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo('link.png')
            info.type, info.linkname = kind, '/etc/passwd'
            archive.addfile(info)
        for name in evil:
            info = tarfile.TarInfo(name)
            info.size = len(png())
            archive.addfile(info, io.BytesIO(png()))
    before = files(tmp_path)
    unpack()
    assert files(tmp_path) - before == {'work/pictures/evil/good at 12:30.png',
                                       'work/pictures/links/good at 12:30.png'}
    assert not os.path.exists('/tmp/evil-of-srgan.png')


@pytest.mark.parametrize('name', ['broken.zip', 'broken.tar.gz', 'empty.tar'])
def test_a_broken_archive_is_named_and_leaves_nothing(name, unpack, datasets):
    whole = (datasets / 'data' / 'data12345' / 'some.zip').read_bytes()
    if name.endswith('gz'):
        whole = (datasets / 'data' / 'data678' / 'more.tar.gz').read_bytes()
    (datasets / 'data' / name).write_bytes(b'' if name.startswith('empty') else whole[:len(whole) // 2])
    with pytest.raises(UsageError, match='%s cannot be unpacked' % name):
        unpack()
    assert set(os.listdir(str(datasets / 'work' / 'pictures'))) <= {'data12345_some', 'data678_more'}


@pytest.mark.parametrize('damage', [
    lambda whole: whole[:1024 * 2], lambda whole: whole[:1024 * 2 + 100],
    lambda whole: whole[:1024 * 2 + 8] + b'X' + whole[1024 * 2 + 9:]], ids=['between', 'within', 'header'])
def test_a_tar_that_ends_too_early_is_no_smaller_archive(damage, unpack, datasets):
    path = datasets / 'data' / 'cut.tar'
    make_tar(path, {'%d.png' % number: bytes(512) for number in range(5)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UsageError, match='cut.tar cannot be unpacked .*; upload it again'):
        unpack()
    assert not (datasets / 'work' / 'pictures' / 'cut').exists()


def test_a_picture_whose_bytes_are_damaged_is_noticed(unpack, datasets):
    path = datasets / 'data' / 'data12345' / 'some.zip'
    whole = bytearray(path.read_bytes())
    whole[200] ^= 255
    path.write_bytes(bytes(whole))
    with pytest.raises(UsageError, match='some.zip cannot be unpacked'):
        unpack()
    assert not (datasets / 'work' / 'pictures' / 'data12345_some').exists()


def test_a_disk_that_is_too_small_is_noticed_before(unpack, datasets, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: argparse.Namespace(free=len(png())))
    with pytest.raises(RunError, match='some.zip: its pictures take .* MB'):
        unpack()
    assert not files(datasets / 'work')


def test_no_archive_and_no_folder(run, tmp_path):
    assert run('archives.py').is_one_line(2, 'data is not a folder')
    (tmp_path / 'data').mkdir()
    result = run('archives.py')
    assert result.code == 0 and 'no archive in data' in result.out


def test_links_to_folders_are_followed_and_end(unpack, datasets):
    os.symlink(str(datasets / 'data'), str(datasets / 'data' / 'loop'))
    (datasets / 'elsewhere').mkdir()
    os.rename(str(datasets / 'data' / 'data678' / 'more.tar.gz'), str(datasets / 'elsewhere' / 'more.tar.gz'))
    os.rmdir(str(datasets / 'data' / 'data678'))
    os.symlink(str(datasets / 'elsewhere'), str(datasets / 'data' / 'data678'))
    unpack()
    assert files(datasets / 'work' / 'pictures') == WANTED


def test_two_processes_that_unpack_the_same_do_not_meet(unpack, datasets, monkeypatch):
    """The later one finds the folder of the first, and leaves nothing of its own."""
    extract = archives.extract

    def extract_twice(path, folder):
        extract(path, folder)
        monkeypatch.setattr(archives, 'extract', extract)
        unpack()

    monkeypatch.setattr(archives, 'extract', extract_twice)
    unpack()
    assert files(datasets / 'work' / 'pictures') == WANTED
