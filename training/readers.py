"""Training crops, cut out of pictures by processes beside the Executor.

A reader is this module run as a process: it takes tasks at its standard input and answers at its standard output.
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
from data_utils import LR_RESIZES, SCALE, UnreadableImage, im_resize, random_crop, random_turn, read_image

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MOST_READERS = 4
NICENESS = 10


def training_crop(image, number, seed, stage, crop_size, augment, lr_resize, vgg_size):
    """Crop `number` of a stage, out of image uint8 [H, W, 3]: (lr, hr) or, with `vgg_size`, (lr, hr, VGG's), uint8."""
    rng = np.random.RandomState((seed, stage, 0, number))
    hr = random_crop(image, crop_size, rng)
    hr = np.ascontiguousarray(random_turn(hr, rng) if augment else hr)
    lr = LR_RESIZES[lr_resize](hr, crop_size // SCALE, crop_size // SCALE)
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


if __name__ == '__main__':
    try:
        serve(sys.stdin.buffer, sys.stdout.buffer)
    except (EOFError, pickle.UnpicklingError, BrokenPipeError):
        # The process that asked is over; nothing is left to be written.
        os._exit(0)
