"""Downloads: from a package of PyPI or npm, which pip or npm downloads without installing it, or from a web server."""
import base64
import hashlib
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
    """Download the archive of one package into the empty `folder`, from the index that pip uses -> its path.

    requirement: 'NAME==VERSION --hash=sha256:...'. pip runs the setup.py of a source package, but compares the hash
    first. Raises RunError; its message has `about`, which says what the package is needed for.
    """
    with tempfile.NamedTemporaryFile('w', suffix='.txt') as requirements:
        requirements.write(requirement)
        requirements.flush()
        pip = subprocess.run([sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps', '--retries=2',
                              '--dest', folder, '--requirement', requirements.name], capture_output=True, text=True)
    if pip.returncode:
        lines = pip.stderr.strip().splitlines() or ['exit code %d' % pip.returncode]
        error = [line for line in lines if line.startswith('ERROR')][-1:] or lines[-1:]
        raise RunError('pip cannot download %s, %s; is there a network? (%s)' % (requirement.split()[0], about, *error))
    return os.path.join(folder, os.listdir(folder)[0])


def fetch_npm_package(package, integrity, folder, about):
    """Download the archive of one package, 'NAME@VERSION', into the empty `folder`, from npm's registry -> its path.

    npm keeps a copy in its cache, so a second call needs no network. integrity: 'sha512-...', as npm writes it. Raises
    UsageError if npm is not installed, RunError if npm fails or the archive is another one; the message has `about`,
    which says what the package is needed for.
    """
    try:
        npm = subprocess.run(['npm', 'pack', package, '--prefer-offline', '--fetch-retries=2', '--loglevel=error'],
                             cwd=folder, capture_output=True, text=True)
    except FileNotFoundError:
        raise UsageError('npm, which fetches %s, %s, is not installed; on Debian and Ubuntu: apt-get install npm' % (
            package, about))
    if npm.returncode:
        lines = npm.stderr.strip().splitlines() or ['exit code %d' % npm.returncode]
        raise RunError('npm cannot download %s, %s; is there a network? (%s)' % (package, about, lines[0]))
    path = os.path.join(folder, os.listdir(folder)[0])
    with open(path, 'rb') as file:
        found = 'sha512-' + base64.b64encode(hashlib.sha512(file.read()).digest()).decode()
    if found != integrity:
        raise RunError('npm downloaded another %s than this project knows: %s, not %s' % (package, found, integrity))
    return path


def fetch_file(url, path, title):
    """Download `url` to `path`, with a progress bar; continue where an earlier download to `path` stopped.

    A broken connection is opened again as long as each one brings at least a byte. Raises UsageError if `url` is not
    http(s), RunError if the download fails.
    """
    if not url.startswith(('http://', 'https://')):
        raise UsageError('--url %s is not an address that begins with http:// or https://' % url)
    before = -1
    while not fetch_rest(url, path, title):
        if os.path.getsize(path) <= before:
            raise RunError('the download of %s broke off; the same command continues it after %d bytes' % (
                url, os.path.getsize(path)))
        before = os.path.getsize(path)


def fetch_rest(url, path, title):
    """Append the missing rest of a file, over one connection. Returns whether the file is complete."""
    have = os.path.getsize(path) if os.path.exists(path) else 0
    request = urllib.request.Request(url, headers={'Range': 'bytes=%d-' % have})
    try:
        response = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            return True
        raise RunError('%s answers %d %s; give another address with --url' % (url, error.code, error.reason))
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, socket.timeout) as error:
        raise RunError('%s cannot be reached: %s' % (url, getattr(error, 'reason', error)))

    if response.status != http.HTTPStatus.PARTIAL_CONTENT:  # the server sends the whole file
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
