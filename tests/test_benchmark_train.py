"""benchmarks/train.py, with networks of a few filters."""
import json
import os
import subprocess
import sys

from conftest import ROOT


def test_the_quick_benchmark_times_both_stages_of_each_contestant(tmp_path):
    """Its exit code says that our graph, plain and rewritten, has one loss. PyTorch's Python here has no PyTorch."""
    result = subprocess.run(
        [sys.executable, os.path.join(ROOT, 'benchmarks', 'train.py'), '--quick', '--turns', '1',
         '--python', sys.executable, '--json', str(tmp_path / 'figures.json')],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert result.returncode == 0, result.stderr
    figures = json.loads((tmp_path / 'figures.json').read_text())
    for stage in ('init', 'gan'):
        rows = figures['stages'][stage]
        for name in ('article-stock', 'article', 'plain', 'ours'):
            assert rows[name]['left_out'] is None and len(rows[name]['seconds']) == 1 and rows[name]['peak_mb'] > 50
            assert rows[name]['title'] in result.stdout
        assert rows['plain']['l_g_pix'] and abs(rows['ours']['l_g_pix'] / rows['plain']['l_g_pix'] - 1) < 1e-4
        for name in ('torch', 'torch-bf16'):
            assert rows[name]['left_out'] == "ModuleNotFoundError: No module named 'torch'"
    assert result.stdout.count('left out: ') == 4
