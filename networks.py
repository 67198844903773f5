"""Which networks are here: those of pretrained/, which have names, and the one that was trained last."""
import os

TRAINED = os.path.join('models', 'g_models')
SHIPPED = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'pretrained')
NAMES = ('srgan', 'srresnet')


def find(name):
    """The path of the network `name`: one of NAMES, or a path."""
    return os.path.join(SHIPPED, name) if name in NAMES else name


def default():
    """The path of the network to take where none is named: the one trained here, else pretrained/srgan, else None."""
    return next((path for path in (TRAINED, find('srgan')) if os.path.isdir(path)), None)
