"""G in use: a network's weights become graphs that enlarge a picture piece by piece, as fast as the processor can."""
import contextlib
import ctypes
import hashlib
import json
import os
import stat

import numpy as np

from cli.command import UsageError
from cli.paddle_setup import fluid
from cpu import int8
from cpu.fp32 import Engine, Fp32Network
from cpu.inference_graph import convolutions, variable_shapes, whole
from data_utils import EMBEDDED_SAMPLE, embedded, standardized
from storage import checkpoint, networks
from storage.files import replace_text

# What `auto` asks of int8: the least PSNR, in dB, of its picture against the one in fp32. At 50 dB a network whose
# pictures have 31 dB loses 0.05 dB.
FIDELITY = 50

# glibc's names for what mallopt sets: blocks to take from the system one by one, free memory to give back.
M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1

CALIBRATION = 'int8.json'
CACHE = os.path.join(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'srgan-paddle')


def load(path, precision='auto', strength=None):
    """The Engine of the network `path`, a directory with G's persistables or a .npz.

    precision: 'fp32', 'int8', or 'auto' for int8 where it is as good (FIDELITY) and this processor fast at it.
    strength: see read. Where int8 is not to be had, `note` of the Engine says why it is fp32. Raises UsageError where
    `path` is not a whole G.
    """
    keep_freed_memory()
    network = read(path, strength)
    layers = convolutions(network)
    fp32 = Fp32Network(layers)
    if precision == 'fp32':
        return Engine(fp32, fp32)
    note = int8.unsupported()
    if not note:
        try:
            largest, fidelity = calibration(path if strength is None else None, network, layers, fp32)
        except UsageError as error:
            note = 'int8 cannot be calibrated: %s' % error
        else:
            if precision == 'int8' or fidelity >= FIDELITY:
                return Engine(int8.Int8Network(layers, largest), fp32)
            note = 'in int8 this network reaches %.1f dB of its fp32 picture, less than %d' % (fidelity, FIDELITY)
    return Engine(fp32, fp32, note)


def read(path, strength=None):
    """G's variables {name: array}. Raises UsageError where `path` is not a whole G.

    With a `strength` they are mixed with those of pretrained/srresnet, which began as the network that pretrained/srgan
    was trained from: 0 is SRResNet, 1 the network. Between such networks a line of weights is a line of pictures (Wang
    et al., Deep Network Interpolation, CVPR 2019).
    """
    names = variable_shapes()
    network = checkpoint.load_network(path, names)
    if strength is None:
        return network
    faithful = checkpoint.load_network(networks.find('srresnet'), names)
    return {name: faithful[name] + np.float32(strength) * (array - faithful[name]) for name, array in network.items()}


def calibration(path, network, layers, fp32):
    """(what int8.calibrate finds, dB of the int8 picture against the one in fp32) for a network.

    Kept in the network's directory, or in CACHE where `path` is a file, may not be written, or is None.
    """
    digest = hashlib.sha256()
    for name in sorted(network):
        digest.update(np.ascontiguousarray(network[name]))
    places = [os.path.join(path, CALIBRATION)] if path and os.path.isdir(path) else []
    places.append(os.path.join(CACHE, '%s.%s' % (digest.hexdigest(), CALIBRATION)))
    for place in places:
        try:
            with open(place) as file:
                kept = json.load(file)
            if kept['weights'] == digest.hexdigest():
                return kept['largest'], kept['fidelity']
        except (OSError, ValueError, KeyError, TypeError):
            pass
    largest = int8.calibrate(layers)
    pixels = standardized(int8.middle(embedded(EMBEDDED_SAMPLE)[0]))
    error = Engine(fp32, fp32).enlarge(pixels) - Engine(int8.Int8Network(layers, largest), fp32).enlarge(pixels)
    fidelity = 10 * float(np.log10(4 / max(np.mean(np.square(error, dtype=np.float64)), 1e-12)))
    found = {'weights': digest.hexdigest(), 'largest': largest, 'fidelity': fidelity}
    keep_calibration(places, json.dumps(found) + '\n')
    return largest, fidelity


def keep_calibration(places, text):
    """Write the text to the first of the places that can be written; to none where none can."""
    for place in places:
        folder = os.path.dirname(place)
        try:
            if folder == CACHE:
                os.makedirs(folder, exist_ok=True)
            # What is marked as read-only stays so for root too, whom no system stops.
            if os.stat(folder).st_mode & stat.S_IWUSR:
                return replace_text(place, text)
        except OSError:
            pass


def export(path, directory, strength=None):
    """Write the network `path`, mixed as read does, as a Paddle inference model for pictures of any size, any device.

    directory/__model__ and directory/params: t_image [N, 3, H, W] -> [N, 3, 4H, 4W], both in [-1, 1].
    Raises UsageError where `path` is not a whole G, OSError.
    """
    graph, t_image, test_im = whole(convolutions(read(path, strength)), fused=False)
    with fluid.scope_guard(graph.scope):
        fluid.io.save_inference_model(directory, [t_image.name], [test_im], fluid.Executor(fluid.CPUPlace()),
                                      main_program=graph.program, params_filename='params')


def keep_freed_memory():
    """Have the C library, where it is glibc, keep the memory that is freed for its next use.

    Else it gives large blocks back to the system, and for each 4 kB of the next one there is a page fault: a quarter
    of the processor's time in int8, and 3 % in fp32, measured.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, -1)
