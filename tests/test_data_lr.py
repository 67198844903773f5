"""Training on pairs: --data with --data-lr."""
import numpy as np
import pytest
from conftest import QUICK, photograph
from PIL import Image

from cli.command import UsageError
from data_utils import bicubic_resize
from training import data_set, settings
from training.readers import training_crop


@pytest.fixture
def pairs(tmp_path):
    """Folders HR and LR as DIV2K names them; the low resolution is a negative, so that nobody can have made it."""
    for number in range(3):
        hr = photograph(112, 120, number)
        for folder, name, image in (('HR', '%04d.png', hr), ('LR', '%04dx4.png', 255 - bicubic_resize(hr, 30, 28))):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(image).save(str(tmp_path / folder / (name % number)))
    return tmp_path


def test_crops_of_a_pair_fit_whatever_their_turn():
    hr = photograph(112, 120, 0)
    lr = np.ascontiguousarray(hr[::4, ::4])
    for number in range(30):
        low, high = training_crop(hr, lr, number, 0, 0, 32, True, 'bicubic', 'none', None)
        assert low.shape == (8, 8, 3) and high.shape == (32, 32, 3)
        # Turned, the pixel that was taken is another corner of its block of 4 x 4.
        assert any(np.array_equal(low, high[y::4, x::4]) for y in (0, 3) for x in (0, 3))


def test_a_run_on_pairs_shows_their_low_resolution(run, pairs, tmp_path):
    arguments = ['--data', 'HR', '--data-lr', 'LR', *QUICK[2:], '--save-every', '1']
    result = run('train.py', *arguments)
    assert result.code == 0, result.out
    low = np.asarray(Image.open(str(tmp_path / 'output' / 'epoch_1_96.jpg'))).astype(int)
    high = np.asarray(Image.open(str(tmp_path / 'output' / 'epoch_1_384.jpg')))
    assert np.abs(255 - bicubic_resize(high, 30, 28).astype(int) - low).mean() < 4
    (tmp_path / 'LR' / '0000x4.png').unlink()
    again = run('train.py', *arguments, '--overwrite')
    assert again.code == 0 and again.out.count('0000.png: no low-resolution picture in LR') == 1


def test_the_names_of_data_sets_are_found(tmp_path):
    for hr, lr in (('a.png', 'a.png'), ('b_HR.png', 'b_LR.jpg'), ('c.jpg', 'cx4w2.png'), ('d.png', 'Dx4.PNG')):
        for folder, name, side in (('hr', hr, 40), ('lr', lr, 10)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(photograph(side, side, 0)).save(str(tmp_path / folder / name))
    _, held_out, partners = data_set.find_pictures([[str(tmp_path / 'hr'), 1]], 32, print, data_lr=str(tmp_path / 'lr'))
    found = {path.split('/')[-1]: partner.split('/')[-1] for path, partner in partners.items()}
    assert found == {'a.png': 'a.png', 'b_HR.png': 'b_LR.jpg', 'c.jpg': 'cx4w2.png', 'd.png': 'Dx4.PNG'}
    assert held_out in partners


@pytest.mark.parametrize('arguments, words', [
    (['--data-lr', 'LR'], 'needs the originals'),
    (['--data', 'HR', '--data-lr', 'LR', '--degrade', 'photo'], 'leave out either'),
    (['--data', 'HR', '--data-lr', 'nowhere'], 'nowhere is not a folder')])
def test_what_does_not_go_together_is_one_line(arguments, words, run, pairs):
    result = run('train.py', '--recipe', 'scratch', *arguments)
    assert result.code == 2 and words in result.err and result.err.count('\n') == 1


def test_a_low_resolution_picture_that_is_not_whole_is_left_out(run, pairs, tmp_path):
    for number in range(3):
        path = tmp_path / 'LR' / ('%04dx4.png' % number)
        whole = path.read_bytes()
        path.write_bytes(whole[:len(whole) // 2])
    result = run('train.py', '--data', 'HR', '--data-lr', 'LR', *QUICK[2:])
    assert result.code == 2 and '0 pictures' in result.err and result.err.count('\n') == 1
    assert '0001x4.png' in result.out


def test_a_pair_of_which_one_is_turned_is_named(run, pairs, tmp_path):
    path = str(tmp_path / 'LR' / '0001x4.png')
    Image.open(path).transpose(Image.ROTATE_90).save(path)
    result = run('train.py', '--data', 'HR', '--data-lr', 'LR', *QUICK[2:])
    assert result.code == 2 and '0001x4.png is 28 x 30' in result.err and result.err.count('\n') == 1


def lie_down(path, turn=None):
    """Store a picture turned by `turn`, with the EXIF orientation of one that lies on its side."""
    image, exif = Image.open(path), Image.Exif()
    exif[0x0112] = 6
    (image if turn is None else image.transpose(turn)).save(path, exif=exif)


def test_a_low_resolution_picture_that_is_stored_lying_is_looked_at_upright(pairs, tmp_path):
    data, low = [[str(tmp_path / 'HR'), 1]], str(tmp_path / 'LR')
    for number in range(3):
        lie_down(str(tmp_path / 'LR' / ('%04dx4.png' % number)), Image.ROTATE_90)
    assert len(data_set.find_pictures(data, 32, print, data_lr=low)[2]) == 3
    # As stored they fit, and upright they do not.
    for number in range(3):
        path = str(tmp_path / 'LR' / ('%04dx4.png' % number))
        Image.open(path).transpose(Image.ROTATE_270).save(path)
        lie_down(path)
    with pytest.raises(UsageError, match='x4.png is 28 x 30, which is not a quarter'):
        data_set.find_pictures(data, 32, print, data_lr=low)


def test_a_resumed_run_says_that_its_low_resolution_is_not_there(pairs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'models').mkdir()
    chosen, _ = settings.parse_settings(['--data', 'HR', '--data-lr', 'LR', *QUICK[2:]])
    settings.save(chosen)
    (tmp_path / 'LR').rename(tmp_path / 'moved')
    with pytest.raises(UsageError, match='LR, .* is not there; .*--resume --data-lr NEW'):
        settings.parse_settings(['--resume'])


def test_a_pair_whose_sizes_do_not_fit_is_named(run, pairs, tmp_path):
    Image.fromarray(photograph(20, 30, 0)).save(str(tmp_path / 'LR' / '0001x4.png'))
    result = run('train.py', '--data', 'HR', '--data-lr', 'LR', *QUICK[2:])
    assert result.code == 2 and '0001x4.png is 30 x 20' in result.err and '0001.png, 120 x 112' in result.err
