"""Processes that read pictures and cut training crops while the Executor computes.

A reader is a process that runs this module: it reads tasks from its standard input and writes answers to its output.
"""
import concurrent.futures
import contextlib
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
from data_utils import SCALE, im_resize, random_crop, random_turn, read_image
from reading.picture_file import UnreadableImage
from training.degradation import DEGRADATIONS

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MOST_READERS = 4
NICENESS = 10


def training_crop(image, partner, number, seed, stage, crop_size, augment, lr_resize, degrade, vgg_size):
    """Cut crop `number` of a stage from image uint8 [H, W, 3] -> (lr, hr) or, with `vgg_size`, (lr, hr, VGG19's input).

    All are uint8 [size, size, 3], with the sizes crop_size / 4, crop_size and vgg_size. partner: the low-resolution
    picture, uint8 [H // 4, W // 4, 3], from which lr is cut, or None: lr is made from hr.
    """
    rng = np.random.RandomState((seed, stage, 0, number))
    if partner is None:
        hr = random_crop(image, crop_size, rng)
        hr = np.ascontiguousarray(random_turn(hr, rng) if augment else hr)
        # Numbers of its own, so that the crops are the same whatever they go through.
        lr = DEGRADATIONS[degrade](hr, lr_resize, np.random.RandomState((seed, stage, 1, number)))
    else:
        top, left = [rng.randint(side - crop_size // SCALE + 1) for side in partner.shape[:2]]
        lr = partner[top:top + crop_size // SCALE, left:left + crop_size // SCALE]
        hr = image[SCALE * top:SCALE * top + crop_size, SCALE * left:SCALE * left + crop_size]
        turn = rng.randint(2 ** 31)
        lr, hr = [np.ascontiguousarray(random_turn(one, np.random.RandomState(turn)) if augment else one)
                  for one in (lr, hr)]
    return (lr, hr, im_resize(hr, vgg_size, vgg_size)) if vgg_size else (lr, hr)


def cut(path, partner, numbers, how):
    """Cut crops from a picture -> {number: crop}. Raises UnreadableImage.

    partner: the path of its low-resolution picture, or None; how: other arguments of training_crop.
    """
    image = read_image(path)
    if min(image.shape[:2]) < how['crop_size']:
        raise UnreadableImage('%s: smaller than the crop' % path)
    low = read_image(partner) if partner else None
    if partner and low.shape[:2] != tuple(side // SCALE for side in image.shape[:2]):
        raise UnreadableImage('%s: not a quarter of %s' % (partner, path))
    return {number: training_crop(image, low, number, **how) for number in numbers}


def serve(tasks, answers):
    """A reader's loop: answer each task, a tuple of arguments for `cut`. Raises EOFError at the end of the tasks."""
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
    """A handle to a reader's process."""

    def __init__(self):
        # Ctrl-C reaches all processes of a terminal; the reader inherits the blocked signals.
        earlier = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        try:
            self.process = subprocess.Popen([sys.executable, '-m', __name__], cwd=ROOT, stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, earlier)

    def ask(self, *task):
        """Return or raise what `cut` returns or raises for a task. Raises ReaderDied if the process ends."""
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
        """Close the input of the process, which ends it -> its exit code, negative if a signal ended it."""
        with contextlib.suppress(BrokenPipeError), self.process:
            pass
        return self.process.returncode


class ReaderDied(Exception):
    """A reader's process has ended; the argument is its exit code."""


class Readers:
    """A pool of `count` readers for the pictures `paths`; by default a reader for each core, at most MOST_READERS.

    The readers end with the `with` block, or with this process, however it ends. If a picture cannot be read any more,
    `warn` is called once with its name, and the next picture takes its place. If a reader dies, `warn` is called, a new
    reader takes its place, and the task is repeated. partners: {path: the path of its low-resolution picture}.
    """

    def __init__(self, paths, count, warn, partners=None):
        self.paths = paths
        self.partners = partners or {}
        self.warn = warn
        self.unreadable = set()
        self.lock = threading.Lock()
        count = count or min(MOST_READERS, len(os.sched_getaffinity(0)))
        self.pool = concurrent.futures.ThreadPoolExecutor(count)
        self.idle = queue.Queue()
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
        """Have the crops `numbers` of picture `index` cut -> the future of {number: crop}. See `cut` for `how`."""
        return self.pool.submit(self.crops, index, numbers, how)

    def crops(self, index, numbers, how):
        for later in range(len(self.paths)):
            path = self.paths[(index + later) % len(self.paths)]
            try:
                return self.ask(path, self.partners.get(path), numbers, how)
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


if __name__ == '__main__':
    try:
        serve(sys.stdin.buffer, sys.stdout.buffer)
    except (EOFError, pickle.UnpicklingError, BrokenPipeError):
        # The training process has ended, so nobody reads the answers.
        os._exit(0)
