"""A web page that enlarges pictures in the browser by G, with all its files, for any web server."""
import functools
import os
import shutil
import tarfile
import tempfile

from data_utils import SCALE
from export import onnx_model
from measuring import html_page
from storage import download
from storage.files import replace_file

FOLDER = os.path.dirname(os.path.abspath(__file__))
PACKAGE = 'onnxruntime-web@1.30.0'
INTEGRITY = 'sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=='
# {file of the package: its name in the page's folder}. Not .mjs: browsers run no script whose type the web server does
# not know, and that of Python 3.7 does not know .mjs.
ENGINE = {'package/dist/ort.wasm.bundle.min.mjs': 'ort.js',
          'package/dist/ort-wasm-simd-threaded.wasm': 'ort-wasm-simd-threaded.wasm'}
SCRIPTS = ('enlarge.js', 'worker.js')
# The browser itself refuses to send anything from the page to another host. Without an icon it would ask for one.
HEAD = '''
<meta http-equiv="Content-Security-Policy" content="default-src 'self'; img-src blob: data:;
 script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'; style-src 'unsafe-inline'">
<link rel="icon" href="data:,">'''


def export(path, folder, strength=None):
    """Write the page with the network `path` into `folder`: index.html and all files that it needs.

    strength: see engine.read. npm fetches the engine. Raises UsageError if `path` does not hold all variables of G or
    npm is not installed, RunError if npm fails, OSError if the folder cannot be written.
    """
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as fetched:
        margin = onnx_model.export(path, os.path.join(made, 'network.onnx'), strength, as_uint8=True)
        archive = download.fetch_npm_package(PACKAGE, INTEGRITY, fetched, 'which computes the network in the browser')
        with tarfile.open(archive) as package:
            for member, name in ENGINE.items():
                with package.extractfile(member) as content, open(os.path.join(made, name), 'wb') as file:
                    shutil.copyfileobj(content, file)
        for name in SCRIPTS:
            shutil.copy(os.path.join(FOLDER, name), made)
        with open(os.path.join(made, 'index.html'), 'w', encoding='utf-8') as file:
            file.write(html_page.document('Enlarge photographs', body(margin), HEAD))
        for name in os.listdir(made):
            with open(os.path.join(made, name), 'rb') as content:
                replace_file(os.path.join(folder, name), functools.partial(shutil.copyfileobj, content))


def body(margin):
    """The page's HTML: where the picture is dropped, the bar, and the slider. margin: of the network's tiles."""
    views = [(label, 'data:,') for label in ('Low resolution', 'Interpolated by the browser', 'Generated')]
    section = html_page.section('Your picture', views, len(views) - 1, SCALE, SCALE)
    return html_page.filled(os.path.join(FOLDER, 'page_body.html'), margin=margin, section=section)
