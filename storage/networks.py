"""Which networks are here: those of pretrained/, which have names, and the one that was trained last."""
import os

from storage import files

TRAINED = os.path.join('models', 'g_models')
NAMES = ('srgan', 'srresnet')


def find(name):
    """The path of the network `name`: one of NAMES, or a path."""
    return os.path.join(files.PRETRAINED, name) if name in NAMES else name


def default():
    """The path of the network to take where none is named: the one trained here, else pretrained/srgan, else None."""
    return next((path for path in (TRAINED, find('srgan')) if os.path.isdir(path)), None)
