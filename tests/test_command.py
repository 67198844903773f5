"""What every command shares, where no command's own tests hold it."""
import os
import subprocess
import sys

import pytest
from conftest import ROOT

from cli import command

INTERRUPTED = '''
import sys
from cli import command, progress

def interrupted(*_, **__):
    raise KeyboardInterrupt

progress.tqdm.tqdm.__init__ = interrupted
sys.exit(command.run(lambda _: progress.Bar(total=1), []))
'''


def test_ctrl_c_while_a_progress_bar_is_made_is_one_line():
    process = subprocess.run([sys.executable, '-c', INTERRUPTED], env={**os.environ, 'PYTHONPATH': ROOT},
                             stderr=subprocess.PIPE, universal_newlines=True)
    assert process.returncode == 130 and process.stderr == 'error: stopped\n'


@pytest.mark.parametrize('error, line', [
    (MemoryError(), 'this machine has too little memory'), (BrokenPipeError(32, 'Broken pipe'), 'Broken pipe'),
    (PermissionError(13, 'Permission denied', 'a/b'), 'Permission denied: a/b')])
def test_what_the_system_refuses_is_one_line(error, line, capsys):
    def main(_):
        raise error

    assert command.run(main, []) == 1 and capsys.readouterr().err == 'error: %s\n' % line


@pytest.mark.parametrize('use', [
    'from paddle.dataset import sentiment; assert sentiment.get_word_dict',
    'import paddle; assert paddle.dataset.flowers.simple_transform',
    'import paddle.dataset.common as common; assert common.download',
    'assert cli.paddle_setup.fluid.contrib.slim.Compressor',
    'from paddle.fluid.contrib.slim import Compressor'])
def test_paddle_imports_its_data_sets_and_slim_when_they_are_used(use):
    code = ("import sys, cli.paddle_setup; slow = {'requests', 'scipy'}; assert not slow & set(sys.modules); "
            '%s; assert slow & set(sys.modules)' % use)
    subprocess.run([sys.executable, '-c', code], env={**os.environ, 'PYTHONPATH': ROOT}, check=True)


def test_what_of_paddle_is_imported_already_stays():
    code = ("import sys, paddle; first = paddle.dataset; import cli.paddle_setup; "
            "assert paddle.dataset is first is sys.modules['paddle.dataset']")
    subprocess.run([sys.executable, '-c', code], env={**os.environ, 'PYTHONPATH': ROOT}, check=True)


def test_a_name_that_is_no_text_is_escaped_on_the_line():
    code = ("import os, sys; from cli import command; "
            "sys.exit(command.run(lambda _: print(os.fsdecode(b'\\xff \\xe7\\x8c\\xab'))))")
    for encoding, shown in (('utf-8', '\\udcff 猫'), ('ascii', '\\udcff \\u732b')):
        done = subprocess.run([sys.executable, '-c', code], stdout=subprocess.PIPE, cwd=ROOT,
                              env={**os.environ, 'PYTHONPATH': ROOT, 'PYTHONIOENCODING': encoding})
        assert (done.returncode, done.stdout.decode().strip()) == (0, shown)


def test_a_line_break_in_a_name_leaves_the_error_one_line():
    done = subprocess.run([sys.executable, 'upscale.py', 'no\nsuch\r.png'], cwd=ROOT, stderr=subprocess.PIPE)
    assert done.returncode == 2 and done.stderr.startswith(b'error: no\\nsuch\\r.png') and done.stderr.count(b'\n') == 1
