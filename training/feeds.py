"""The feeds of the updates: which crops they get, in which order. Crops are cut some batches ahead of the Executor."""
import contextlib
import functools
import itertools

import numpy as np

from data_utils import SCALE, standardized

# How many batches the readers are ahead of the Executor.
LOOK_AHEAD = 3
# The largest number of rounds for which a picture is cut when it is read. In a round each picture is used once.
MAX_ROUNDS = 64


def updates(readers, settings, stage, vgg_size, first=0):
    """Yield for each update of a Stage, from number `first` on, the list of its feeds; see `feeds`."""
    size = stage.feeds_an_update
    coming = feeds(readers, settings, stage.number, stage.updates * size, first * size,
                   vgg_size if stage.name == 'gan' else None)
    with contextlib.closing(coming):
        yield from iter(lambda: list(itertools.islice(coming, size)), [])


def feeds(readers, settings, stage, updates, first=0, vgg_size=None):
    """Yield the feeds number `first` to `updates` - 1 of the stage number `stage`, as {name: array}.

    t_image [N, crop/4, crop/4, 3], t_target_image [N, crop, crop, 3] and, with `vgg_size`, vgg19_input
    [N, vgg_size, vgg_size, 3]: float32 in [-1, 1]. Each of several trainers gets its own part of a batch. The feeds
    depend only on the pictures, the seed, the stage and the update, so a resumed run gets the same ones. When the
    readers read a picture, they cut its crops for as many rounds as settings.cache_mb megabytes can hold.
    """
    batch_size = settings.batch_size
    pictures = len(readers)
    part = batch_size // settings.trainers
    how = dict(seed=settings.seed, stage=stage, crop_size=settings.crop_size, augment=settings.augment,
               lr_resize=settings.lr_resize, degrade=settings.degrade, vgg_size=vgg_size)
    # The pixels of a crop: high resolution, low resolution, and the input of VGG19.
    pixels = settings.crop_size ** 2 + (settings.crop_size // SCALE) ** 2 + (vgg_size or 0) ** 2
    rounds = rounds_a_reading(pictures, 3 * pixels, settings.cache_mb)

    def batch(update):
        """The numbers of this trainer's crops in an update."""
        start = update * batch_size + part * settings.trainer_id
        return range(start, start + part)

    def order(number):
        return round_order(pictures, settings.seed, stage, number)

    def reading(number):
        """The picture of crop `number`, and the numbers of all crops to cut when it is read."""
        this, place = divmod(number, pictures)
        picture = order(this)[place]
        # A picture is read once in `rounds` rounds. The pictures' turns are spread evenly over these rounds, so that
        # not all are read in the same round; `until` is the round in which this picture is read the next time.
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
    """The order of the pictures in round `number` of a stage: a permutation of range(pictures)."""
    return np.random.RandomState((seed, stage, number)).permutation(pictures)


def rounds_a_reading(pictures, crop_bytes, cache_mb):
    """The number of rounds for which a picture's crops are cut when it is read.

    Reading a picture takes a hundred times as long as cutting a crop. The pictures are read in different rounds, so on
    average (rounds + 1) / 2 crops of each picture wait in memory. These must fit into the cache: pictures x crop_bytes
    x (rounds + 1) / 2 <= cache_mb x 2 ** 20.
    """
    return min(MAX_ROUNDS, max(1, cache_mb * 2 ** 21 // (pictures * crop_bytes) - 1))
