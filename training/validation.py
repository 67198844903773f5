"""The quality of G on a folder of pictures, measured by the code of evaluate.py while G trains."""
from cli.command import UsageError
from cpu.fp32 import Engine, Fp32Network
from cpu.inference_graph import convolutions
from data_utils import UnreadableImage
from measuring import metrics, pairs, report
from pictures.enlarge import upscale

# What measure() returns, of which the first decides which network is the best.
SCORES = ('val_psnr_y', 'val_ssim_y')


class Validation:
    """The pictures of `folder`, with their low-resolution partners where they have them.

    What cannot be used is named by `warn`. Raises UsageError where nothing can.
    """

    def __init__(self, folder, warn):
        self.pairs, self.warn = [], warn
        found, left_out = pairs.find_pairs(folder)
        for pair in found:
            try:
                pairs.read_pair(pair)
                self.pairs.append(pair)
            except UnreadableImage as error:
                left_out.append(str(error))
        for line in left_out:
            warn('left out of the validation: %s' % line)
        if not self.pairs:
            raise UsageError('--val %s: no picture in it can be used' % folder)

    def measure(self, network):
        """The means over all pictures, {'val_psnr_y': dB, 'val_ssim_y': 0..1}, of G with variables {name: array}.

        None, with a line, where one of the pictures has gone: a mean over others would not compare.
        """
        fp32 = Fp32Network(convolutions(network))
        model = Engine(fp32, fp32)
        scores = []
        for pair in self.pairs:
            try:
                lr, hr = pairs.read_pair(pair)
            except UnreadableImage as error:
                self.warn('not validated: %s' % error)
                return None
            sr = upscale(lr, model)
            scores.append(dict(zip(SCORES, (metrics.psnr_y(sr, hr), metrics.ssim_y(sr, hr)))))
        return report.mean(scores)
