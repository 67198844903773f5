"""The feeds of a training's updates: which crops, in which order, a few batches ahead of the Executor."""
import contextlib
import functools
import itertools

import numpy as np

from data_utils import SCALE, standardized

LOOK_AHEAD = 3
MAX_ROUNDS = 64


def updates(readers, settings, stage, vgg_size, first=0):
    """For each update of a Stage from number `first` on, a list of its feeds; see `feeds`."""
    size = stage.feeds_an_update
    coming = feeds(readers, settings, stage.number, stage.updates * size, first * size,
                   vgg_size if stage.name == 'gan' else None)
    with contextlib.closing(coming):
        yield from iter(lambda: list(itertools.islice(coming, size)), [])


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
    # High resolution, low resolution, and what VGG19 sees.
    pixels = settings.crop_size ** 2 + (settings.crop_size // SCALE) ** 2 + (vgg_size or 0) ** 2
    rounds = rounds_a_reading(pictures, 3 * pixels, settings.cache_mb)

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
