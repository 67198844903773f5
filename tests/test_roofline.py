"""benchmarks/roofline.py: the convolutions of upscale.py against the processor's peak."""
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

from cpu import int8


@pytest.mark.skipif(int8.unsupported() is not None, reason='int8: %s' % int8.unsupported())
def test_no_convolution_is_faster_than_the_peak_and_most_operations_are_counted():
    result = subprocess.run([sys.executable, os.path.join(ROOT, 'benchmarks', 'roofline.py'), '--turns', '3'],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert result.returncode == 0, result.stderr
    peaks = dict(re.findall(r'^(\w+): the peak is (\d+) GOPS', result.stdout, re.MULTILINE))
    # A VNNI instruction has 64 multiplications, and an FMA instruction 16.
    assert 3.6 < int(peaks['int8']) / int(peaks['fp32']) < 4.4
    shares = [int(share) for share in re.findall(r' GOPS, +(\d+) %', result.stdout)]
    assert len(shares) > 8 and max(shares) < 110
    # All of G: 33 convolutions of 64 to 64 channels, one to 256, and one to 256 at twice the size.
    operations = 320 * 180 * 2 * 9 * 64 * (33 * 64 + 256 + 4 * 256)
    for precision, ideal in zip(('int8', 'fp32'), re.findall(r'at the peak (\S+)', result.stdout)):
        assert 1 < float(ideal) / 1e3 * int(peaks[precision]) * 1e9 / operations < 1.05
