"""Training crops: their order, what they depend on, and the processes that cut them."""
import argparse
import collections
import os
import signal
import time

import cv2
import numpy as np
import pytest
from conftest import QUICK, Result, log_of, photograph, wait_for
from PIL import Image

import data_utils
from cli.command import RunError
from training import feeds, health, readers


def settings(**changes):
    return argparse.Namespace(**dict(dict(
        batch_size=2, crop_size=32, augment=False, lr_resize='bicubic', degrade='none', seed=0, cache_mb=1,
        trainers=1, trainer_id=0), **changes))


@pytest.fixture
def paths(tmp_path):
    for number in range(5):
        Image.fromarray(photograph(48, 56, number)).save(str(tmp_path / ('%d.png' % number)))
    return data_utils.list_images(str(tmp_path))


@pytest.fixture
def plain(tmp_path):
    """Twelve pictures, each of one grey of its own: 10, 20, ..."""
    for number in range(12):
        Image.new('RGB', (40, 40), (10 + 10 * number,) * 3).save(str(tmp_path / ('%02d.png' % number)))
    return data_utils.list_images(str(tmp_path))


def stream(paths, first=0, updates=8, stage=0, count=1, vgg_size=None, **changes):
    with readers.Readers(paths, count, print) as pictures:
        return list(feeds.feeds(pictures, settings(**changes), stage, updates, first, vgg_size))


def assert_same(feeds, others):
    assert len(feeds) == len(others)
    for feed, other in zip(feeds, others):
        assert list(feed) == list(other) and all((feed[name] == other[name]).all() for name in feed)


def children(pid):
    """The processes that `pid` has started and that run."""
    found = []
    for name in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open('/proc/%s/stat' % name) as file:
                state, parent = file.read().rpartition(')')[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == pid and state != 'Z':
            found.append(int(name))
    return found


# What is fed

def test_a_feed_is_a_reduced_crop_and_its_original(paths):
    feed = stream(paths)[0]
    assert feed['t_image'].shape == (2, 8, 8, 3) and feed['t_target_image'].shape == (2, 32, 32, 3)
    assert {value.dtype for value in feed.values()} == {np.dtype('float32')}
    hr = data_utils.to_uint8(feed['t_target_image'][0])
    assert (data_utils.to_uint8(feed['t_image'][0]) == data_utils.bicubic_resize(hr, 8, 8)).all()
    assert any((image[top:top + 32, left:left + 32] == hr).all()
               for image in map(data_utils.read_image, paths) for top in range(17) for left in range(25))


def test_vggs_picture_is_the_same_crop(paths):
    feed = stream(paths, updates=1, stage=1, vgg_size=224)[0]
    hr = data_utils.to_uint8(feed['t_target_image'][1])
    assert (data_utils.to_uint8(feed['vgg19_input'][1]) == cv2.resize(hr, (224, 224))).all()


@pytest.mark.parametrize('count', [1, 2, 3])
def test_feeds_depend_on_the_seed_the_stage_and_the_update_alone(count, paths):
    """Not on the number of readers, on the memory, or on where the run was resumed."""
    whole = stream(paths, updates=30, augment=True)
    assert_same(stream(paths, updates=30, augment=True, count=count, cache_mb=0), whole)
    for first in (1, 17):
        assert_same(stream(paths, first, 30, augment=True, count=count), whole[first:])


def test_another_seed_stage_or_round_gives_other_crops(paths):
    """But for a few that chance brings back: there are 2125 of them."""
    def crops(**changes):
        return {crop.tobytes() for feed in stream(paths, **changes) for crop in feed['t_target_image']}

    whole = crops()
    assert len(whole) > 12
    assert len(whole & crops(seed=1)) < 4 and len(whole & crops(stage=1)) < 4
    assert stream(paths, 8) == []


def greys(feeds):
    return [int(round(grey)) for feed in feeds
            for grey in data_utils.to_uint8(feed['t_target_image']).astype(float).mean((1, 2, 3))]


def test_every_picture_is_used_once_before_any_is_used_again(plain):
    used = greys(stream(plain, updates=30, batch_size=4, count=2))
    for start in range(0, 120, 12):
        assert sorted(used[start:start + 12]) == list(range(10, 121, 10))
    assert used[:12] != used[12:24]


def test_a_picture_that_is_listed_three_times_is_used_three_times_as_often(plain):
    used = collections.Counter(greys(stream(plain[:2] + plain[:1] * 2, updates=20, batch_size=4)))
    assert used == {10: 60, 20: 20}


class Counted:
    """Readers that note which pictures are read, and the crops that wait for their turn."""

    def __init__(self, pictures):
        self.pictures, self.paths, self.read, self.cut = pictures, pictures.paths, [], set()

    def __len__(self):
        return len(self.paths)

    def submit(self, index, numbers, how):
        self.read.append(index)
        self.cut |= set(numbers)
        return self.pictures.submit(index, numbers, how)


def test_a_picture_is_read_once_for_as_many_rounds_as_the_memory_holds(plain):
    """Without memory once for each crop; never do more crops wait than fit; and the readings are spread evenly."""
    crop_bytes = 3 * (40 ** 2 + 10 ** 2)
    with readers.Readers(plain, 2, print) as pictures:
        for cache_mb, at_least, rounds in ((0, 1, 20), (1, 30, 70), (64, feeds.MAX_ROUNDS, 70)):
            counted, readings = Counted(pictures), []
            updates, ahead = 12 * rounds, feeds.LOOK_AHEAD
            for update, _ in enumerate(feeds.feeds(counted, settings(
                    batch_size=4, crop_size=40, cache_mb=cache_mb), 0, updates)):
                readings.append(len(counted.read))
                waiting = len(counted.cut) - 4 * (update + 1 + ahead)
                assert waiting * crop_bytes <= max(cache_mb * 2 ** 20 * 1.05, 0) + 12 * crop_bytes
            assert counted.cut == set(range(4 * updates))
            assert len(counted.read) <= 4 * updates / at_least + 12
            assert np.diff(readings[3:]).max() <= 4 / at_least + 2
    assert cache_mb == 64


# What happens to readers

def test_a_reader_that_dies_is_named_and_replaced_and_the_stream_is_the_same(paths):
    said, fed = [], []
    with readers.Readers(paths, 2, said.append) as pictures:
        for feed in feeds.feeds(pictures, settings(cache_mb=0), 0, 40):
            fed.append(feed)
            if len(fed) in (3, 20):
                for pid in children(os.getpid()):
                    if b'training.readers' in open('/proc/%d/cmdline' % pid, 'rb').read():
                        os.kill(pid, signal.SIGKILL)
    assert_same(fed, stream(paths, updates=40))
    assert 3 <= len(said) <= 4 and all('reads pictures died' in line and '-9' in line for line in said)


def test_a_picture_that_kills_readers_is_left_out(paths, monkeypatch):
    class Fragile(readers.Reader):
        def ask(self, path, *task):
            if path == paths[2]:
                self.process.kill()
            return super().ask(path, *task)

    monkeypatch.setattr(readers, 'Reader', Fragile)
    said = []
    with readers.Readers(paths, 1, said.append) as pictures:
        assert len(list(feeds.feeds(pictures, settings(), 0, 10))) == 10
    assert len(said) == 3 and said[2].startswith('left out: %s' % paths[2])


@pytest.mark.parametrize('spoil, reason', [
    (lambda path: open(path, 'w').close(), 'empty'),
    (lambda path: os.remove(path), 'No such file'),
    (lambda path: Image.new('RGB', (31, 99)).save(path), 'smaller than the crop')])
def test_a_picture_that_turns_unreadable_is_named_once_and_replaced_by_the_next(spoil, reason, plain):
    said, fed = [], []
    with readers.Readers(plain, 3, said.append) as pictures:
        spoil(plain[2])
        fed = list(feeds.feeds(pictures, settings(cache_mb=0, batch_size=4), 0, 6))
    assert collections.Counter(greys(fed)) == {
        grey: 4 if grey == 40 else 2 for grey in range(10, 121, 10) if grey != 30}
    assert len(said) == 1 and said[0].startswith('left out: ' + plain[2]) and reason in said[0]


def test_when_no_picture_can_be_read_any_more_the_run_ends(paths):
    said = []
    with readers.Readers(paths, 2, said.append) as pictures:
        for path in paths:
            os.remove(path)
        with pytest.raises(RunError, match='none of the pictures'):
            list(feeds.feeds(pictures, settings(), 0, 10))
    assert len(said) == len(paths)


def test_no_reader_outlives_its_block(paths):
    before = children(os.getpid())
    with readers.Readers(paths, 3, print) as pictures:
        stream = feeds.feeds(pictures, settings(), 0, 1000)
        next(stream)
        assert len(children(os.getpid())) == len(before) + 3
        stream.close()
    assert children(os.getpid()) == before


ENDLESS = QUICK + ['--n-epoch-init', '100000', '--readers', '2']


def with_readers(start, tmp_path):
    """A run in a session of its own that has begun to train -> (process, its readers)."""
    process = start('train.py', *ENDLESS, start_new_session=True)
    wait_for((tmp_path / 'output' / 'log.csv').exists, process)
    found = children(process.pid)
    assert len(found) == 2
    return process, found


@pytest.mark.parametrize('number, code', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_whole_group_is_for_the_run_alone(number, code, start, data, tmp_path):
    """As Ctrl-C at a terminal sends it, and `timeout`: the update is finished and saved, and readers say nothing."""
    process, found = with_readers(start, tmp_path)
    os.killpg(process.pid, number)
    result = Result(process)
    assert result.code == code and result.err.strip() == 'stopping after this update; a second signal stops at once'
    assert 'died' not in result.out and 'stopped and saved' in result.out
    assert not any(os.path.exists('/proc/%d' % pid) for pid in found)


def test_readers_end_by_themselves_when_their_run_is_killed(start, data, tmp_path):
    """Also the one that has taken the place of one that was killed, which is a line of the run."""
    process, found = with_readers(start, tmp_path)
    os.kill(found[0], signal.SIGKILL)
    wait_for(lambda: len(set(children(process.pid)) - set(found)) == 1, process)
    found = children(process.pid)
    process.kill()
    result = Result(process)
    assert result.err == '' and result.out.count('a process that reads pictures died') == 1
    deadline = time.time() + 10
    while any(os.path.exists('/proc/%d' % pid) for pid in found):
        assert time.time() < deadline
        time.sleep(0.02)


# What is said of it

def test_the_log_tells_how_long_the_updates_waited(run, tmp_path):
    (tmp_path / 'data').mkdir()
    for number in range(3):
        Image.fromarray(photograph(1500, 1500, number)).save(str(tmp_path / 'data' / ('%d.png' % number)))
    assert run('train.py', *QUICK, '--n-epoch', '0', '--cache-mb', '0', '--readers', '1').code == 0
    rows = log_of(tmp_path / 'output')
    assert all(0 < float(row['waited']) < 1 for row in rows)
    # The first update cannot begin before the first picture is decoded.
    assert float(rows[0]['waited']) * float(rows[0]['seconds']) > 0.02


def test_waiting_for_long_is_said_once():
    rows = [{'stage': 'init', 'waited': 0.3}] + [{'stage': 'init', 'waited': 0.01}] + [
        {'stage': 'init', 'waited': 0.125}] * 8
    said = [number for number in range(1, len(rows) + 1) if health.warnings(rows[:number])]
    assert said == [7]
    line, = health.warnings(rows[:7])
    assert '12% of the time' in line and '--readers' in line
