"""The training crops: in which order pictures give them, cut by other processes beside the Executor, and fed.

A reader is this file run as a process: it takes tasks at its standard input and answers at its standard output.
"""
import concurrent.futures
import contextlib
import functools
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading

import cv2
import numpy as np

from cli.command import RunError
from data_utils import LR_RESIZES, UnreadableImage, im_resize, random_crop, random_turn, read_image, standardized

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOOK_AHEAD = 3
MAX_ROUNDS = 64
MOST_READERS = 4
NICENESS = 10


# The order

@functools.lru_cache(maxsize=2 * MAX_ROUNDS)
def round_order(pictures, seed, stage, number):
    """The order of a stage's round: each of so many pictures once."""
    return np.random.RandomState((seed, stage, number)).permutation(pictures)


def rounds_a_reading(pictures, crop_bytes, cache_mb):
    """For how many rounds a picture's crops are cut when it is read.

    Reading a picture takes a hundred times as long as cutting a crop. The pictures are read in different rounds,
    so that half of these rounds' crops, (rounds + 1) / 2 of each picture, wait for their turn at any time.
    """
    return min(MAX_ROUNDS, max(1, cache_mb * 2 ** 21 // (pictures * crop_bytes) - 1))


# The readers

def training_crop(image, number, seed, stage, crop_size, augment, lr_resize, vgg_size):
    """Crop `number` of a stage, out of image uint8 [H, W, 3]: (lr, hr) or, with `vgg_size`, (lr, hr, VGG's), uint8."""
    rng = np.random.RandomState((seed, stage, 0, number))
    hr = random_crop(image, crop_size, rng)
    hr = np.ascontiguousarray(random_turn(hr, rng) if augment else hr)
    lr = LR_RESIZES[lr_resize](hr, crop_size // 4, crop_size // 4)
    return (lr, hr, im_resize(hr, vgg_size, vgg_size)) if vgg_size else (lr, hr)


def cut(path, numbers, how):
    """{number: crop} of a picture; `how` are the further arguments of training_crop. Raises UnreadableImage."""
    image = read_image(path)
    if min(image.shape[:2]) < how['crop_size']:
        raise UnreadableImage('%s: smaller than the crop' % path)
    return {number: training_crop(image, number, **how) for number in numbers}


def serve(tasks, answers):
    """What a reader does: answer each task, the arguments of `cut`, until there are no more."""
    os.nice(NICENESS)
    cv2.setNumThreads(1)
    while True:
        task = pickle.load(tasks)
        try:
            answer = cut(*task)
        except UnreadableImage as error:
            answer = error
        pickle.dump(answer, answers, protocol=4)
        answers.flush()


class Reader:
    """A reader's process, from the side of the one that asks it."""

    def __init__(self):
        # The process inherits what is blocked: Ctrl-C reaches all of a terminal's processes, and is for the Executor's.
        earlier = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        try:
            self.process = subprocess.Popen([sys.executable, '-m', __name__], cwd=ROOT, stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, earlier)

    def ask(self, *task):
        """What `cut` returns or raises for a task. Raises ReaderDied."""
        try:
            pickle.dump(task, self.process.stdin, protocol=4)
            self.process.stdin.flush()
            answer = pickle.load(self.process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            raise ReaderDied(self.close())
        if isinstance(answer, UnreadableImage):
            raise answer
        return answer

    def close(self):
        """End the process, which goes when its input does; -> its exit code, negative for a signal."""
        with contextlib.suppress(BrokenPipeError), self.process:
            pass
        return self.process.returncode


class ReaderDied(Exception):
    pass


class Readers:
    """`count` processes, by default as many as cores, MOST_READERS at most, that cut crops out of the pictures `paths`.

    They end with the `with` block or, whatever ends it, with this process.

    A picture that turns out to be unreadable in mid-run is named once by `warn`, and the next one stands in. A
    reader that dies is named and replaced, and its task done again.
    """

    def __init__(self, paths, count, warn):
        self.paths, self.warn = paths, warn
        self.unreadable, self.lock = set(), threading.Lock()
        count = count or min(MOST_READERS, len(os.sched_getaffinity(0)))
        self.pool, self.idle = concurrent.futures.ThreadPoolExecutor(count), queue.Queue()
        for _ in range(count):
            self.idle.put(Reader())

    def __len__(self):
        return len(self.paths)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pool.shutdown()
        while not self.idle.empty():
            self.idle.get().close()

    def submit(self, index, numbers, how):
        """-> the future of {number: crop} of picture `index`."""
        return self.pool.submit(self.crops, index, numbers, how)

    def crops(self, index, numbers, how):
        for later in range(len(self.paths)):
            path = self.paths[(index + later) % len(self.paths)]
            try:
                return self.ask(path, numbers, how)
            except UnreadableImage as error:
                with self.lock:
                    known = path in self.unreadable
                    self.unreadable.add(path)
                if not known:
                    self.warn('left out: %s' % error)
        raise RunError('none of the pictures of --data can be read any more')

    def ask(self, path, *task):
        for _ in range(2):
            reader = self.idle.get()
            try:
                return reader.ask(path, *task)
            except ReaderDied as end:
                self.warn('a process that reads pictures died (exit code %s) at %s; another one takes its place' % (
                    end, path))
                reader = Reader()
            finally:
                self.idle.put(reader)
        raise UnreadableImage('%s: two readers died of it' % path)


# The stream

def feeds(readers, settings, stage, updates, first=0, vgg_size=None):
    """The feeds of a stage's updates, number `first` up to `updates`, in the programs' names and NHWC layout.

    t_image [N, crop/4, crop/4, 3], t_target_image [N, crop, crop, 3] and, with `vgg_size`, vgg19_input
    [N, vgg_size, vgg_size, 3]: float32 in [-1, 1]. They depend on the pictures, the seed, the stage's number and
    the update's alone, so that a resumed run sees what an uninterrupted one does. All pictures are used once
    before any is used again. The readers are LOOK_AHEAD batches ahead of the Executor, and cut a picture's
    crops of several rounds when they read it, as many as settings.cache_mb megabytes hold. Of several trainers each
    gets its part of every batch.
    """
    batch_size, pictures = settings.batch_size, len(readers)
    part = batch_size // settings.trainers
    how = dict(seed=settings.seed, stage=stage, crop_size=settings.crop_size, augment=settings.augment,
               lr_resize=settings.lr_resize, vgg_size=vgg_size)
    crop_bytes = 3 * (settings.crop_size ** 2 * 17 // 16 + (vgg_size or 0) ** 2)
    rounds = rounds_a_reading(pictures, crop_bytes, settings.cache_mb)

    def batch(update):
        """The numbers of this trainer's crops of an update."""
        start = update * batch_size + part * settings.trainer_id
        return range(start, start + part)

    def order(number):
        return round_order(pictures, settings.seed, stage, number)

    def reading(number):
        """The picture that crop `number` is of, and the numbers of the crops to cut out of it."""
        this, place = divmod(number, pictures)
        picture = order(this)[place]
        until = this + rounds - (this + picture * rounds // pictures) % rounds
        later = [other * pictures + np.flatnonzero(order(other) == picture)[0] for other in range(this + 1, until)]
        return picture, [number] + [other for other in later
                                    if other < updates * batch_size and other in batch(other // batch_size)]

    coming = {}
    try:
        for update in range(first, updates + LOOK_AHEAD):
            if update < updates:
                for number in batch(update):
                    if number not in coming:
                        picture, numbers = reading(number)
                        coming.update(dict.fromkeys(numbers, readers.submit(picture, numbers, how)))
            if update >= first + LOOK_AHEAD:
                crops = zip(*[coming.pop(number).result().pop(number) for number in batch(update - LOOK_AHEAD)])
                yield {name: standardized(images)
                       for name, images in zip(('t_image', 't_target_image', 'vgg19_input'), crops)}
    finally:
        for future in coming.values():
            future.cancel()


if __name__ == '__main__':
    try:
        serve(sys.stdin.buffer, sys.stdout.buffer)
    except (EOFError, pickle.UnpicklingError, BrokenPipeError):
        # The process that asked is over; nothing is left to be written.
        os._exit(0)
