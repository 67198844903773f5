"""What --degrade does to the low resolution: each kind of wear by itself, and in a run."""
import io

import numpy as np
import pytest
from conftest import QUICK, photograph
from PIL import Image

from data_utils import bicubic_resize
from training import degradation
from training.readers import training_crop

FLAT = np.full((96, 96, 3), 128, np.uint8)
POINT = np.zeros((97, 97), np.float32)
POINT[48, 48] = 1e6


@pytest.fixture
def only(monkeypatch):
    """only(NOISE=1.0, ...): nothing happens to a picture but what is named, which may have other ranges."""
    for name in ('CLEAN', 'BLUR', 'NOISE', 'WEB', 'JPEG'):
        monkeypatch.setattr(degradation, name, 0.0)
    monkeypatch.setattr(degradation, 'PLAIN_KERNEL', 1.0)
    return lambda **values: [monkeypatch.setattr(degradation, name, value) for name, value in values.items()]


def worn(image, seed=0):
    return degradation.photo(image, 'bicubic', np.random.RandomState(seed))


def test_the_same_numbers_wear_a_picture_the_same_way():
    image = photograph(96, 96, 0)
    assert np.array_equal(worn(image, 3), worn(image, 3))
    assert len({worn(image, seed).tobytes() for seed in range(20)}) > 10


def test_a_share_stays_clean():
    image = photograph(96, 96, 0)
    plain = bicubic_resize(image, 24, 24)
    clean = np.mean([np.array_equal(worn(image, seed), plain) for seed in range(300)])
    assert abs(clean - degradation.CLEAN) < 0.08
    assert np.array_equal(degradation.none(image, 'bicubic', None), plain)


def test_jpeg_is_jpeg(only):
    only(JPEG=1.0, QUALITY=(60, 60), JPEG_444=1.0)
    image, file = photograph(96, 96, 1), io.BytesIO()
    Image.fromarray(bicubic_resize(image, 24, 24)).save(file, 'JPEG', quality=60, subsampling=0)
    assert np.array_equal(worn(image), np.asarray(Image.open(file)))


@pytest.mark.parametrize('grey', [0.0, 1.0])
def test_noise_has_its_level_and_colours(grey, only):
    only(NOISE=1.0, NOISE_LEVEL=(8.0, 8.0), NOISE_GREY=grey, NOISE_POISSON=0.0)
    noise = np.stack([worn(FLAT, seed) for seed in range(20)]) - 128.0
    assert abs(noise.std() - 8) < 0.4 and abs(noise.mean()) < 0.4
    assert np.array_equal(noise[..., 0], noise[..., 1]) == bool(grey)


def test_poissons_noise_grows_with_the_brightness(only):
    only(NOISE=1.0, NOISE_LEVEL=(6.0, 6.0), NOISE_POISSON=1.0)
    deviations = [np.std([worn(np.full_like(FLAT, grey), seed) for seed in range(20)]) for grey in (32, 128)]
    assert abs(deviations[0] - 3) < 0.3 and abs(deviations[1] - 6) < 0.4


@pytest.mark.parametrize('round_share', [0.0, 1.0])
def test_a_blur_has_widths_in_its_range(round_share, only):
    """By the second moments of a point after it, along its axes."""
    only(BLUR_ROUND=round_share)
    y, x = np.mgrid[-48:49, -48:49]
    uneven = 0
    for seed in range(20):
        spread = degradation.blurred(POINT, np.random.RandomState(seed))
        weights = spread / spread.sum()
        moments = np.array([[np.sum(weights * a * b) for a in (x, y)] for b in (x, y)])
        widths = np.sqrt(np.linalg.eigvalsh(moments))
        assert 0.4 <= widths.min() and widths.max() <= degradation.BLUR_WIDTH[1] + 0.05
        uneven += widths.max() / widths.min() > 1.05
    assert uneven == 0 if round_share else uneven > 10


def test_compressed_twice_the_first_time_larger(only, monkeypatch):
    only(WEB=1.0, WEB_FACTOR=(1.5, 1.5), JPEG=1.0, QUALITY=(90, 90))
    sizes = []
    compressed = degradation.compressed
    monkeypatch.setattr(degradation, 'compressed',
                        lambda image, rng: sizes.append(image.shape) or compressed(image, rng))
    assert worn(photograph(96, 96, 2)).shape == (24, 24, 3)
    assert sizes == [(36, 36, 3), (24, 24, 3)]


def test_crops_are_the_same_whatever_they_go_through():
    how = dict(partner=None, number=7, seed=1, stage=0, crop_size=48, augment=True, lr_resize='bicubic', vgg_size=None)
    (plain, hr), (changed, same) = [training_crop(photograph(90, 80, 0), degrade=name, **how)
                                    for name in ('none', 'photo')]
    assert np.array_equal(hr, same) and plain.shape == changed.shape == (12, 12, 3)


def test_a_run_shows_worn_samples(run, data, tmp_path):
    worn_run = [*QUICK, '--degrade', 'photo', '--save-every', '1', '--output', 'worn', '--models', 'm']
    assert run('train.py', *worn_run).code == 0
    assert run('train.py', *QUICK, '--save-every', '1').code == 0
    low, plain = [np.asarray(Image.open(str(tmp_path / name / 'epoch_1_96.jpg'))).astype(int)
                  for name in ('worn', 'output')]
    assert low.shape == plain.shape and np.abs(low - plain).mean() > 2
