"""A newcomer's change is a change of one file: a loss, a degradation and a recipe, each made in a copy of the project.

A layer of G is one, too: the graphs for use refuse it by name (test_engine.py, TestAnotherG).
"""
import shutil
import subprocess
import sys

from conftest import ROOT, log_of

LOSS = '''
def brightness(fake, target):
    return fl.abs(fl.reduce_mean(fake) - fl.reduce_mean(target))


PICTURE_LOSSES += (PictureLoss('l_g_bright', 'bright_weight', brightness, "weight in G's loss of brightness", 'light'),)
'''
DEGRADATION = '''
LR_RESIZES['nearest'] = lambda image, width, height: cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST)
'''
RECIPE = '''
RECIPES['quick'] = dict(RECIPES['scratch'], crop_size=32, batch_size=2, epoch_updates=1, n_epoch_init=1, n_epoch=1)
'''


def insert(path, text, before):
    page = path.read_text()
    assert page.count(before) == 1
    path.write_text(page.replace(before, text + before))


def test_a_loss_a_degradation_and_a_recipe_are_each_one_file(data, tmp_path):
    clone = tmp_path / 'clone'
    shutil.copytree(ROOT, str(clone), ignore=shutil.ignore_patterns('.*', 'test_*', 'pretrained', 'work', 'figures'))
    insert(clone / 'losses.py', LOSS, '\n# The adversarial losses\n')
    insert(clone / 'data_utils.py', DEGRADATION, '\n# Files\n')
    insert(clone / 'recipes.py', RECIPE, 'for recipe in RECIPES.values():\n')

    def train(*options):
        return subprocess.run([sys.executable, str(clone / 'tests' / 'tiny.py'), 'train.py'] + list(options),
                              cwd=str(tmp_path), stdout=subprocess.PIPE, universal_newlines=True)

    shown = train('--help').stdout
    assert '--bright-weight X' in shown and 'nearest' in shown and 'quick' in shown
    done = train('--data', 'data', '--recipe', 'quick', '--lr-resize', 'nearest', '--content-loss', 'mse',
                 '--bright-weight', '0.5')
    assert done.returncode == 0 and 'bright_weight       0.5' in done.stdout
    init, gan = log_of(tmp_path / 'output')
    assert not init['l_g_bright'] and float(gan['l_g_bright']) > 0
    assert float(gan['g_loss']) > float(gan['l_g_pix']) + 0.5 * float(gan['l_g_bright'])
