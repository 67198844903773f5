"""Run a command of the project with networks of a few filters, as a user would run it with whole ones.

    python tests/tiny.py train.py --n-epoch 2 ...

What the tests look at (files, messages, exit codes, resuming) does not depend on the number of filters, nor on the
curves, which would take as long as all the rest: with CURVES=drawn in the environment they are drawn as they are.
"""
import os
import sys

from PIL import Image

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def shrink():
    """Make the networks tiny, and have what is read lie in the current folder, whatever has been fetched here."""
    from storage import files
    files.PRETRAINED = os.path.abspath('pretrained')
    import tiny_lpips

    import srgan_d
    import srgan_g
    import vgg19
    from measuring import lpips_alex
    from training import log
    if os.environ.get('CURVES') != 'drawn':
        log.draw_curves = lambda rows, file: Image.new('L', (80, 56)).save(file, 'png')
    srgan_g.RESIDUAL_BLOCKS, srgan_g.FILTERS = 2, 8
    srgan_d.FILTERS = 2
    vgg19.FILTERS = (4, 4, 8, 8, 8)
    lpips_alex.CONVOLUTIONS = tiny_lpips.CONVOLUTIONS


if __name__ == '__main__':
    sys.path[:0] = [ROOT, os.path.join(ROOT, 'tests')]
    shrink()
    import importlib

    from cli import command
    script = importlib.import_module(sys.argv[1][:-len('.py')])
    sys.exit(command.run(script.main, sys.argv[2:]))
