"""G in use: load a network as an Engine that enlarges pictures, choose its precision, export it."""
import contextlib
import ctypes
import hashlib
import json
import os
import stat

import numpy as np

from cli.command import RunError, UsageError
from cli.paddle_setup import fluid
from cpu import int8, winograd
from cpu.fp32 import Engine, Fp32Network
from cpu.inference_graph import convolutions, variable_shapes, whole
from data_utils import EMBEDDED_SAMPLE, embedded, read_image, standardized
from storage import checkpoint, networks
from storage.files import beside, replace_text

# `auto` takes int8 if its picture has at least this PSNR, in dB, against the fp32 picture. At 50 dB a network whose
# pictures have 31 dB loses 0.05 dB.
FIDELITY = 50

# Two parameters of glibc's mallopt: how many blocks may be taken from the system one by one, and from which size free
# memory is given back.
M_MMAP_MAX = -4
M_TRIM_THRESHOLD = -1

CALIBRATION = 'int8.json'
CACHE = os.path.join(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'srgan-paddle')


def load(path, precision='auto', strength=None):
    """The Engine of the network `path`, a directory with G's persistables or a .npz.

    precision: 'fp32', 'int8', or 'auto', which takes int8 if its pictures are as good (FIDELITY) and this CPU computes
    it fast. strength: see read. If int8 was asked for and cannot be used, the Engine computes in fp32 and its `note`
    says why. Raises UsageError if `path` does not hold all variables of G.
    """
    keep_freed_memory()
    winograd.enable()
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
    """G's variables {name: array}. Raises UsageError if `path` does not hold all variables of G.

    strength: 0 to 1, interpolates the weights from pretrained/srresnet (0) to this network (1). pretrained/srgan and
    pretrained/srresnet were both trained from one network; between such networks the pictures change as smoothly as the
    weights (Wang et al., Deep Network Interpolation, CVPR 2019).
    """
    names = variable_shapes()
    network = checkpoint.load_network(path, names)
    if strength is None:
        return network
    faithful = checkpoint.load_network(networks.find('srresnet'), names)
    return {name: faithful[name] + np.float32(strength) * (array - faithful[name]) for name, array in network.items()}


def calibration(path, network, layers, fp32):
    """-> (largest, fidelity) of a network: int8.calibrate's list, and the PSNR in dB of an int8 picture against fp32's.

    The result is kept in the network's directory, or in CACHE if `path` is a file, a read-only directory or None.
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
                return [np.array(channels) for channels in kept['largest_by_channel']], kept['fidelity']
        except (OSError, ValueError, KeyError, TypeError):
            pass
    largest = int8.calibrate(layers)
    pixels = standardized(int8.reduced_middle(read_image(embedded(EMBEDDED_SAMPLE)[0])))
    error = Engine(fp32, fp32).enlarge(pixels) - Engine(int8.Int8Network(layers, largest), fp32).enlarge(pixels)
    # PSNR for values in [-1, 1], whose range is 2.
    fidelity = 10 * float(np.log10(2 ** 2 / max(np.mean(np.square(error, dtype=np.float64)), 1e-12)))
    found = {'weights': digest.hexdigest(), 'fidelity': fidelity,
             'largest_by_channel': [[float('%.4g' % value) for value in channels] for channels in largest]}
    keep_calibration(places, json.dumps(found) + '\n')
    return largest, fidelity


def keep_calibration(places, text):
    """Write the text to the first of the places that can be written, if there is one."""
    for place in places:
        folder = os.path.dirname(place)
        try:
            if folder == CACHE:
                os.makedirs(folder, exist_ok=True)
            # Root may write into a read-only folder, but must not change it either.
            if os.stat(folder).st_mode & stat.S_IWUSR:
                return replace_text(place, text)
        except OSError:
            pass


def export(path, directory, strength=None):
    """Write the network `path` as a Paddle inference model for pictures of any size and for any device.

    directory/__model__ and directory/params: t_image [N, 3, H, W] -> [N, 3, 4H, 4W], both in [-1, 1]. strength: see
    read. Raises UsageError if `path` does not hold all variables of G, RunError or OSError if the directory cannot be
    written; what is in it then stays.
    """
    graph, t_image, test_im = whole(convolutions(read(path, strength)), fused=False)
    with beside(os.path.join(directory, 'params'), os.mkdir) as new, fluid.scope_guard(graph.scope):
        fluid.io.save_inference_model(new, [t_image.name], [test_im], fluid.Executor(fluid.CPUPlace()),
                                      main_program=graph.program, params_filename='params')
        # Paddle does not notice a disk that has no room.
        parameters = sum(np.prod(variable.shape) for variable in graph.program.list_vars()
                         if fluid.io.is_persistable(variable))
        if os.path.getsize(os.path.join(new, 'params')) < 4 * parameters:
            raise RunError('%s cannot be written; is the disk full?' % directory)
        for name in ('params', '__model__'):
            os.replace(os.path.join(new, name), os.path.join(directory, name))


def keep_freed_memory():
    """Have glibc keep freed memory and use it again; another C library is left as it is.

    By default glibc gives large blocks back to the system, and the next block costs a page fault for each 4 kB:
    measured, a quarter of the processor's time in int8 and 3 % in fp32.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, -1)
