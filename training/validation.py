"""Validation: the quality of G on a folder of pictures during the training, measured as evaluate.py does."""
import hashlib

from cli.command import RunError, UsageError
from cpu.fp32 import Engine, Fp32Network
from cpu.inference_graph import convolutions
from cpu.memory import memory_for
from measuring import metrics, pairs, report
from pictures.enlarge import upscale
from reading.picture_file import UnreadableImage


class Validation:
    """The validation pictures in `folder`, with their low-resolution partners if the folder has these.

    `warn` is called with a line on each picture that cannot be used. Raises UsageError if none can be used. pictures: a
    text that is the same for the same pictures, wherever and in whatever files they are.
    """

    def __init__(self, folder, warn):
        self.pairs = []
        self.warn = warn
        digests = []
        found, left_out = pairs.find_pairs(folder)
        for pair in found:
            try:
                digests.append(hashlib.sha256(b''.join(image.tobytes() for image in pairs.read_pair(pair))).digest())
                self.pairs.append(pair)
            except UnreadableImage as error:
                left_out.append(str(error))
        for line in left_out:
            warn('left out of the validation: %s' % line)
        if not self.pairs:
            raise UsageError('--val %s: no picture in it can be used' % folder)
        self.pictures = hashlib.sha256(b''.join(sorted(digests))).hexdigest()

    def measure(self, network):
        """Measure G with the variables {name: array} -> means over all pictures {'val_psnr_y': dB, 'val_ssim_y': 0..1}.

        If a picture cannot be read any more, or there is too little memory for it, warns and returns None: a mean over
        fewer pictures could not be compared with the earlier ones.
        """
        fp32 = Fp32Network(convolutions(network))
        model = Engine(fp32, fp32)
        try:
            return report.mean([self.scores(pair, model) for pair in self.pairs])
        except (UnreadableImage, RunError) as error:
            self.warn('not validated: %s' % error)
            return None

    @staticmethod
    def scores(pair, model):
        with memory_for(pair.name):
            lr, hr = pairs.read_pair(pair)
            sr = upscale(lr, model)
            return {'val_psnr_y': metrics.psnr_y(sr, hr), 'val_ssim_y': metrics.ssim_y(sr, hr)}
