"""The inference graphs against the network as it was trained, and what Paddle and oneDNN do wrongly in between."""
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, megabytes, photograph

import srgan_g
from cli import paddle_setup
from cli.command import RunError, UsageError
from cli.paddle_setup import fluid
from cpu import engine, fp32, int8
from cpu.inference_graph import Graph, before_shuffle, convolutions, folded, shuffled, whole
from cpu.int8 import Int8Graph
from cpu.tiles import windows
from data_utils import read_image, standardized, to_uint8
from layers import BN_EPSILON, variables_of
from measuring import metrics
from srgan_g import SRGAN_g
from storage import checkpoint, persistables

fl = fluid.layers

SRRESNET = os.path.join(ROOT, '..', 'shared', 'pretrained', 'srresnet_start.npz')
SET5 = os.path.join(ROOT, '..', 'shared', 'data', 'Set5')

needs_int8 = pytest.mark.skipif(int8.unsupported() is not None, reason='int8: %s' % int8.unsupported())


def random_network(seed=0):
    """G's variables as a training could leave them: nothing is one or zero."""
    rng = np.random.RandomState(seed)
    network = {}
    for name, shape in variables_of(SRGAN_g, [None, 3, None, None]).items():
        if len(shape) == 4:
            values = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        elif name.endswith('.w_0'):
            values = rng.uniform(0.5, 1.5, shape) * (0.3 if '/b2/' in name else 1)
        elif name.endswith(('.w_2', '.w_5')):
            values = rng.uniform(0.5, 2, shape)
        else:
            values = rng.normal(0, 0.1, shape)
        network[name] = values.astype(np.float32)
    network['out.w_0'] *= 0.3
    return network


def plain(network, pixels):
    """pixels float32 [H, W, 3] through srgan_g.SRGAN_g as it is, by an Executor -> [4H, 4W, 3]."""
    program, scope = fluid.Program(), fluid.Scope()
    with fluid.program_guard(program, fluid.Program()), fluid.unique_name.guard():
        out = SRGAN_g(fluid.data('t_image', [None, 3, None, None]))
    for name, array in network.items():
        persistables.set_variable(scope, name, array)
    value, = fluid.Executor(fluid.CPUPlace()).run(program.clone(for_test=True), scope=scope, fetch_list=[out.name],
                                                  feed={'t_image': pixels.transpose(2, 0, 1)[None]})
    return value[0].transpose(1, 2, 0)


def run(graph, feed, x):
    return fluid.Executor(fluid.CPUPlace()).run(graph.program, feed=feed, fetch_list=[x.name], scope=graph.scope)[0]


def fluid_layers(build, feed, **weights):
    """build(x) as fluid layers, whose parameters w, b, ... have the given values, on `feed`."""
    program, startup, scope = fluid.Program(), fluid.Program(), fluid.Scope()
    with fluid.program_guard(program, startup), fluid.unique_name.guard():
        out = build(fluid.data('x', [None] + list(feed.shape[1:])))
    exe = fluid.Executor(fluid.CPUPlace())
    exe.run(startup, scope=scope)
    for name, value in weights.items():
        persistables.set_variable(scope, name, value.astype(np.float32))
    return exe.run(program.clone(for_test=True), feed={'x': feed}, fetch_list=[out.name], scope=scope)[0]


def normal(*shape, seed=0):
    return np.random.RandomState(seed).normal(size=shape).astype(np.float32)


def photo(height, width, seed=0):
    return standardized(photograph(height, width, seed))


def psnr(a, b):
    return 10 * np.log10(4 / np.mean(np.square(a - b, dtype=np.float64)))


@pytest.fixture
def srresnet(tmp_path):
    """A copy of a trained network."""
    if not os.path.exists(SRRESNET):
        pytest.skip('no trained network at %s' % SRRESNET)
    return shutil.copy(SRRESNET, str(tmp_path))


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    """A random network as a directory of persistables; once int8 was asked for, its calibration is beside it."""
    path = str(tmp_path_factory.mktemp('saved') / 'network')
    checkpoint.save_network(path, random_network().items())
    return path


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """The folder for calibrations that are not kept with their network."""
    monkeypatch.setattr(engine, 'CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


@pytest.fixture
def fresh(saved, tmp_path):
    """The same without its calibration."""
    path = str(tmp_path / 'network')
    shutil.copytree(saved, path, ignore=shutil.ignore_patterns(engine.CALIBRATION))
    return path


class TestAnotherG:
    """A change of srgan_g.py that the rewrites do not know is named at the first use, whatever it is."""

    def refusal(self, monkeypatch, saved, old, new):
        with open(os.path.join(ROOT, 'srgan_g.py')) as file:
            text = file.read()
        assert old in text
        changed = {'__name__': 'srgan_g'}
        exec(compile(text.replace(old, new, 1), 'srgan_g.py', 'exec'), changed)
        changed.update(RESIDUAL_BLOCKS=srgan_g.RESIDUAL_BLOCKS, FILTERS=srgan_g.FILTERS)
        monkeypatch.setattr(srgan_g, 'SRGAN_g', changed['SRGAN_g'])
        with pytest.raises(UsageError, match='srgan_g.py: operation .* change convolutions') as error:
            engine.load(saved)
        with pytest.raises(UsageError, match='srgan_g.py: operation'):
            convolutions(random_network())
        return str(error.value)

    def test_one_more_convolution(self, monkeypatch, saved):
        line = self.refusal(monkeypatch, saved, "    n = conv2d(n, 4 * FILTERS, 3, 'n256s1/1'",
                            "    n = conv2d(n, FILTERS, 3, 'extra/c', he_std(n, 3))\n"
                            "    n = conv2d(n, 4 * FILTERS, 3, 'n256s1/1'")
        assert 'is conv2d extra/c.w_0 3x3' in line and 'expects conv2d n256s1/1.w_0' in line

    def test_one_more_operation_without_parameters(self, monkeypatch, saved):
        line = self.refusal(monkeypatch, saved, 'shuffled_out(fluid.layers.relu(n)',
                            'shuffled_out(fluid.layers.relu(fluid.layers.relu(n))')
        assert 'is relu' in line and 'expects reshape2' in line

    def test_another_order_of_the_same_operations(self, monkeypatch, saved):
        self.refusal(monkeypatch, saved, 'elementwise_add(n, temp)', 'elementwise_add(n, nn)')

    def test_another_filter_size(self, monkeypatch, saved):
        assert '9x9' in self.refusal(monkeypatch, saved, 'conv2d(t_image, FILTERS, 3,', 'conv2d(t_image, FILTERS, 9,')

    def test_something_after_the_end(self, monkeypatch, saved):
        assert 'expects nothing' in self.refusal(monkeypatch, saved, 'return fluid.layers.tanh(n)',
                                               'return fluid.layers.scale(fluid.layers.tanh(n), 0.9)')


class TestRewrites:
    """Each gives what the layers of fluid give."""

    def test_batch_norm_folded_into_its_convolution(self):
        x, weight, bias = normal(1, 3, 9, 8), normal(5, 3, 3, 3, seed=1), normal(5, seed=2)
        scale, shift, mean, variance = normal(5, seed=3), normal(5, seed=4), normal(5, seed=5), normal(5, seed=6) ** 2

        def layers(x):
            n = fl.conv2d(x, 5, 3, padding=1, param_attr='w', bias_attr='b')
            return fl.batch_norm(n, epsilon=BN_EPSILON, param_attr='scale', bias_attr='shift',
                                 moving_mean_name='mean', moving_variance_name='variance')

        expected = fluid_layers(layers, x, w=weight, b=bias, scale=scale, shift=shift, mean=mean, variance=variance)
        graph = Graph()
        out = graph.conv(graph.variable([-1, 3, -1, -1], name='x'), *folded(weight, bias, scale, shift, mean, variance))
        assert np.allclose(run(graph, {'x': x}, out), expected, rtol=1e-5, atol=1e-5)

    def test_shuffled_convolution_is_a_transposed_one_with_biases_by_subpixel(self):
        x, weight, bias = normal(1, 6, 5, 7), normal(16, 6, 3, 3, seed=1), normal(16, seed=2)
        expected = fluid_layers(
            lambda x: fl.pixel_shuffle(fl.conv2d(x, 16, 3, padding=1, param_attr='w', bias_attr='b'), 2),
            x, w=weight, b=bias)
        transposed, biases = shuffled(weight, bias)
        graph = Graph()
        n = graph.variable([-1, 6, -1, -1], name='x')
        out = graph.add(graph.conv_transpose(n, transposed, padding=2),
                        graph.conv_transpose(graph.ones_like(n), biases, padding=0))
        assert np.allclose(run(graph, {'x': x}, out), expected, rtol=1e-5, atol=1e-5)

    def test_1x1_convolution_moved_before_the_shuffle(self):
        x, weight, bias = normal(1, 32, 5, 7), normal(3, 8, 1, 1, seed=1), normal(3, seed=2)
        expected = fluid_layers(
            lambda x: fl.conv2d(fl.pixel_shuffle(x, 2), 3, 1, param_attr='w', bias_attr='b'), x, w=weight, b=bias)
        graph = Graph()
        out = graph.conv(graph.variable([-1, 32, -1, -1], name='x'), *before_shuffle(weight, bias))
        out = graph.map('pixel_shuffle', out, channels=3, upscale_factor=2)
        assert np.allclose(run(graph, {'x': x}, out), expected, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize('fused', [True, False])
    def test_whole_graph_is_the_network(self, fused):
        """The addition of the skip connection included, which the fuse pass of Paddle's inference engine destroys."""
        network, pixels = random_network(), photo(21, 34)
        graph, _, out = whole(convolutions(network), fused)
        enlarged = run(graph, {'t_image': pixels.transpose(2, 0, 1)[None]}, out)[0].transpose(1, 2, 0)
        expected = plain(network, pixels)
        assert expected.std() > 0.1
        assert np.abs(enlarged - expected).max() < 1e-5


class TestTraps:
    """What Paddle 1.8.5 computes wrongly without a word, which the graphs here keep clear of, and still do so."""

    def test_fuse_pass_of_the_inference_engine_destroys_the_skip_connection(self, saved, tmp_path):
        """Graph.conv says why; Graph fuses by itself, and no pass is run."""
        pixels = photo(21, 34)
        expected = plain(random_network(), pixels)
        directory = stock_inference_model(random_network(), str(tmp_path))
        errors = {}
        for deleted in ([], ['conv_elementwise_add_mkldnn_fuse_pass']):
            config = fluid.core.AnalysisConfig(os.path.join(directory, '__model__'), os.path.join(directory, 'params'))
            config.disable_gpu()
            config.enable_mkldnn()
            for name in deleted:
                config.delete_pass(name)
            predictor = fluid.core.create_paddle_predictor(config)
            out, = predictor.run([fluid.core.PaddleTensor(pixels.transpose(2, 0, 1)[None].copy())])
            enlarged = np.array(out.as_ndarray())[0].transpose(1, 2, 0)
            errors[len(deleted)] = np.abs(enlarged - expected).max()
        assert errors[0] > 0.01 and errors[1] < 1e-5

    @needs_int8
    def test_sum_over_mixed_layouts(self):
        """One such sum in a residual block costs 2.3 dB; Graph.add is right in any case."""
        integers = np.random.RandomState(0).randint(-127, 128, (1, 6, 7, 64)).astype(np.int8)
        x = (integers / np.float32(127)).transpose(0, 3, 1, 2).copy()
        weight, bias = normal(64, 64, 3, 3, seed=1), np.zeros(64, np.float32)
        errors = {}

        def add_by_sum(graph, x, y):
            out = graph.variable(x.shape)
            graph.append('sum', {'X': [x, y]}, {'Out': out}, use_mkldnn=True)
            return out

        for name, add in (('sum', add_by_sum), ('elementwise_add', Graph.add)):
            graph = Int8Graph()
            planes = Graph.conv(graph, graph.variable([-1, 64, -1, -1], name='x'), weight, bias)
            pixels = graph.conv(graph.variable([-1, -1, -1, 64], 'int8', 'integers'), weight, bias, 127.0)
            out = add(graph, planes, pixels)
            out, planes = fluid.Executor(fluid.CPUPlace()).run(
                graph.program, feed={'x': x, 'integers': integers}, fetch_list=[out.name, planes.name],
                scope=graph.scope)
            errors[name] = np.abs(out - 2 * planes).max()
        assert errors['sum'] > 10 and errors['elementwise_add'] < 1


def stock_inference_model(network, directory):
    """srgan_g.SRGAN_g as fluid saves it for the inference engine -> the directory."""
    program, scope = fluid.Program(), fluid.Scope()
    with fluid.program_guard(program, fluid.Program()), fluid.unique_name.guard():
        out = SRGAN_g(fluid.data('t_image', [None, 3, None, None]))
    for name, array in network.items():
        persistables.set_variable(scope, name, array)
    with fluid.scope_guard(scope):
        fluid.io.save_inference_model(directory, ['t_image'], [out], fluid.Executor(fluid.CPUPlace()),
                                      main_program=program, params_filename='params')
    return directory


class TestFp32:
    @pytest.mark.parametrize('tail_rows', [24, 1000])
    def test_pieces_put_together_are_the_plain_network(self, saved, monkeypatch, tail_rows):
        monkeypatch.setattr(fp32.Fp32Network, 'tail_pixels', 1)
        monkeypatch.setattr(fp32, 'TAIL_ROWS', tail_rows)
        pixels = photo(120, 90)
        expected = plain(random_network(), pixels)
        model = engine.load(saved, 'fp32')
        assert np.abs(model.enlarge(pixels) - expected).max() < 1e-5
        piece = model.enlarge(pixels[10:, 5:], rows=(36, 70), columns=(36, 85))
        assert np.abs(piece - expected[4 * 46:4 * 80, 4 * 41:]).max() < 1e-5

    def test_one_pixel(self, saved):
        pixels = photo(1, 1)
        assert np.abs(engine.load(saved, 'fp32').enlarge(pixels) - plain(random_network(), pixels)).max() < 1e-5

    def test_margin_is_how_far_a_pixel_reaches(self, monkeypatch, tmp_path):
        monkeypatch.setattr(srgan_g, 'RESIDUAL_BLOCKS', 2)
        path = str(tmp_path / 'network')
        checkpoint.save_network(path, random_network().items())
        model = engine.load(path, 'fp32')
        pixels = np.zeros((1, 61, 3), np.float32)
        before = model.enlarge(pixels)
        pixels[0, 30] = 1
        # Winograd's algorithm computes 4 x 4 places together: a change leaves rounding errors in those beside it.
        changed = np.flatnonzero(np.abs(model.enlarge(pixels) - before).max(axis=(0, 2)) > 1e-6)
        assert model.margin == 8
        # Half a pixel less: the last convolution sees pixels of half the size.
        assert (changed[0], changed[-1]) == (4 * (30 - 8) + 2, 4 * (30 + 8) + 1)

    def test_two_networks_in_one_process_stay_two(self, tmp_path):
        """oneDNN keeps reordered weights by the names of variables, for all scopes."""
        pixels = photo(20, 20)
        for seed in (1, 2):
            path = str(tmp_path / str(seed))
            checkpoint.save_network(path, random_network(seed).items())
        models = [engine.load(str(tmp_path / str(seed)), 'fp32') for seed in (1, 2)]
        enlarged = [model.enlarge(pixels) for model in models]
        for seed, picture in zip((1, 2), enlarged):
            assert np.abs(picture - plain(random_network(seed), pixels)).max() < 1e-5

    def test_memory_does_not_grow_with_the_sizes_seen(self, saved):
        """oneDNN keeps about 10 MB for each shape of input."""
        model = engine.load(saved, 'fp32')

        def enlarge(sizes):
            for height, width in sizes:
                model.enlarge(np.zeros((height, width, 3), np.float32))
            return megabytes()

        start = enlarge((height, width) for height in (9, 10, 11, 12) for width in range(8, 16))
        end = enlarge((height, width) for height in (4, 5, 6, 7, 8) for width in range(8, 20))
        assert end - start < 100

    def test_no_input_stays_in_memory(self):
        """fluid keeps the last one of each Executor in a scope that outlives it."""
        graph, executor = Graph(), fp32.Executor()
        x = graph.variable([-1, 1, -1, -1], name='x')
        graph.map('relu', x)
        sizes = []
        for width in range(1000, 1000 + 4 * executor.SHAPES):
            executor.run(graph, {'x': np.zeros((1, 1, 10000, width), np.float32)})
            if (width + 1) % executor.SHAPES == 0:
                sizes.append(megabytes())
        assert sizes[-1] - sizes[0] < 50


def all_ones(layers):
    """What int8.calibrate returns for maps whose channels all reach 1."""
    read = [layers.first, *[conv for block in layers.blocks for conv in block], layers.middle, layers.up1, layers.up2,
            before_shuffle(*layers.out)]
    return [np.ones(weight.shape[1]) for weight, _ in read]


class TestInt8:
    def test_balanced_channels_are_the_same_network_and_about_equally_large(self, monkeypatch):
        monkeypatch.setattr(int8, 'CALIBRATION_SIDES', {1: 32, 4: 32})
        layers = convolutions(random_network())
        largest = int8.calibrate(layers)
        equal, rescaled = int8.balanced(layers, largest)
        x = normal(1, 3, 9, 14)
        pictures = [run(graph, {'t_image': x}, test_im) for graph, _, test_im in (whole(layers), whole(equal))]
        assert np.allclose(*pictures, rtol=0, atol=1e-5)
        for found, wanted in zip(int8.calibrate(equal), rescaled):
            assert np.allclose(found, wanted, rtol=1e-3, atol=1e-6)
        # The input of the last convolution has equal channels now; that of the blocks is shared by all of them.
        of_channel = [maps[-1].reshape(-1, 4).max(axis=1) for maps in (largest, rescaled)]
        assert np.ptp(of_channel[0]) > 0.1 * of_channel[0].max() and np.allclose(of_channel[1], of_channel[0].max())
        spreads = [np.ptp([each / each.max() for each in maps[1:-3:2]]) for maps in (largest, rescaled)]
        assert spreads[1] < spreads[0]

    @needs_int8
    def test_trained_network_loses_nothing_that_is_seen(self, srresnet):
        """The measure is the goal: 0.05 dB on Set5; 30.93 dB is what the network has in fp32."""
        if not os.path.isdir(SET5):
            pytest.skip('no Set5 at %s' % SET5)
        models = {precision: engine.load(srresnet, precision) for precision in ('fp32', 'int8')}
        scores = {precision: [] for precision in models}
        for number in range(1, 6):
            lr, hr = [read_image(os.path.join(SET5, 'img_%03d_SRF_4_%s.png' % (number, kind))) for kind in ('LR', 'HR')]
            for precision, model in models.items():
                enlarged = to_uint8(model.enlarge(standardized(lr)))
                scores[precision].append(metrics.psnr_y(enlarged, hr[:enlarged.shape[0], :enlarged.shape[1]]))
        assert abs(np.mean(scores['fp32']) - 30.93) < 0.01
        assert np.mean(scores['int8']) > np.mean(scores['fp32']) - 0.05

    @needs_int8
    def test_any_network_is_near_its_fp32_picture(self, saved):
        """So near only if each residual is added, and each scale is that of its convolution."""
        pixels = photo(70, 90)
        assert psnr(engine.load(saved, 'int8').enlarge(pixels), plain(random_network(), pixels)) > 38

    @needs_int8
    def test_pieces_put_together_are_the_whole_picture(self, saved, monkeypatch):
        model, pixels = engine.load(saved, 'int8'), photo(120, 90)
        whole = model.enlarge(pixels)
        monkeypatch.setattr(int8.Int8Network, 'tail_pixels', 1)
        monkeypatch.setattr(fp32, 'TAIL_ROWS', 24)
        assert np.array_equal(model.enlarge(pixels), whole)
        piece = model.enlarge(pixels[10:, 5:], rows=(36, 70), columns=(36, 85))
        assert np.array_equal(piece, whole[4 * 46:4 * 80, 4 * 41:])

    @needs_int8
    def test_deep_pictures_are_computed_in_fp32(self, saved):
        pixels = photo(20, 20)
        enlarged = engine.load(saved, 'int8').enlarge(pixels, deep=True)
        assert np.abs(enlarged - plain(random_network(), pixels)).max() < 1e-5

    @needs_int8
    def test_auto_measures_before_it_takes_int8(self, saved, monkeypatch):
        monkeypatch.setattr(engine, 'FIDELITY', 10)
        assert engine.load(saved, 'auto').precision == 'int8'
        monkeypatch.setattr(engine, 'FIDELITY', 90)
        model = engine.load(saved, 'auto')
        assert model.precision == 'fp32' and 'dB' in model.note

    @needs_int8
    def test_calibration_is_kept_with_the_network_and_belongs_to_its_weights(self, fresh, monkeypatch):
        calibrations = []
        monkeypatch.setattr(int8, 'calibrate', lambda layers: calibrations.append(1) or all_ones(layers))
        for _ in range(2):
            engine.load(fresh, 'int8')
        assert len(calibrations) == 1
        checkpoint.save_network(fresh + '2', random_network(2).items())
        shutil.copy(os.path.join(fresh, engine.CALIBRATION), fresh + '2')
        engine.load(fresh + '2', 'int8')
        assert len(calibrations) == 2

    @needs_int8
    @pytest.mark.parametrize('kind', ['file', 'read-only directory'])
    def test_nothing_is_written_beside_a_file_or_into_a_read_only_directory(self, fresh, cache, monkeypatch, kind):
        def files():
            root = os.path.dirname(fresh)
            return {os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names}

        calibrations = []
        monkeypatch.setattr(int8, 'calibrate', lambda layers: calibrations.append(1) or all_ones(layers))
        if kind == 'file':
            network = os.path.join(os.path.dirname(fresh), 'network.npz')
            np.savez(network, **random_network())
        else:
            network = fresh
            os.chmod(fresh, 0o555)
        before = files()
        for _ in range(2):
            assert engine.load(network, 'int8').precision == 'int8'
        written = files() - before
        assert len(written) == len(calibrations) == 1 and {os.path.dirname(path) for path in written} == {str(cache)}

    @needs_int8
    def test_calibration_that_cannot_be_kept_is_no_error(self, fresh, monkeypatch):
        def full_disk(path, write):
            raise OSError('disk full')

        monkeypatch.setattr(int8, 'calibrate', all_ones)
        monkeypatch.setattr(engine, 'replace_text', full_disk)
        assert engine.load(fresh, 'int8').precision == 'int8'
        assert not os.path.exists(os.path.join(fresh, engine.CALIBRATION))

    def test_processor_without_vnni_computes_in_fp32_and_says_so(self, saved, monkeypatch, tmp_path):
        cpuinfo = tmp_path / 'cpuinfo'
        cpuinfo.write_text('processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu sse2 avx2\n\n')
        monkeypatch.setattr(paddle_setup, 'CPUINFO', str(cpuinfo))
        monkeypatch.setattr(int8, 'unsupported', int8.unsupported.__wrapped__)
        model = engine.load(saved, 'int8')
        assert model.precision == 'fp32' and 'VNNI' in model.note

    @needs_int8
    def test_without_scikit_image_it_computes_in_fp32_and_says_so(self, fresh, monkeypatch):
        def missing(*names):
            raise UsageError('scikit-image is not installed')

        monkeypatch.setattr(int8, 'embedded', missing)
        model = engine.load(fresh, 'auto')
        assert model.precision == 'fp32' and 'scikit-image' in model.note


USE_OF_EXPORT = '''
import numpy as np
import paddle.fluid as fluid
exe = fluid.Executor(fluid.CPUPlace())
program, feeds, fetches = fluid.io.load_inference_model('exported', exe, params_filename='params')
for size in ((9, 14), (17, 5)):
    t_image = np.load('%d.npy' % size[0])
    test_im, = exe.run(program, {feeds[0]: t_image}, fetches)
    np.save('%d.out.npy' % size[0], test_im)
'''


def test_exported_model_needs_paddle_alone_and_takes_any_size(saved, tmp_path):
    engine.export(saved, str(tmp_path / 'exported'))
    pictures = [photo(9, 14), photo(17, 5)]
    for picture in pictures:
        np.save(str(tmp_path / ('%d.npy' % len(picture))), picture.transpose(2, 0, 1)[None])
    (tmp_path / 'away').mkdir()
    subprocess.run([sys.executable, '-c', USE_OF_EXPORT], cwd=str(tmp_path), check=True, stderr=subprocess.DEVNULL)
    for picture in pictures:
        enlarged = np.load(str(tmp_path / ('%d.out.npy' % len(picture))))[0].transpose(1, 2, 0)
        assert np.abs(enlarged - plain(random_network(), picture)).max() < 1e-5


def test_an_export_that_finds_no_room_is_an_error_and_leaves_the_earlier_one(saved, tmp_path, monkeypatch):
    engine.export(saved, str(tmp_path))
    before = (tmp_path / 'params').read_bytes()
    save = fluid.io.save_inference_model

    def save_on_a_full_disk(directory, *arguments, **options):
        save(directory, *arguments, **options)
        os.truncate(os.path.join(directory, 'params'), 100)

    monkeypatch.setattr(fluid.io, 'save_inference_model', save_on_a_full_disk)
    with pytest.raises(RunError, match='disk full'):
        engine.export(saved, str(tmp_path))
    assert (tmp_path / 'params').read_bytes() == before and len(os.listdir(str(tmp_path))) == 2


def test_damaged_network_is_named(fresh):
    path = os.path.join(fresh, 'out.w_0')
    with open(path, 'r+b') as file:
        file.truncate(300)
    with pytest.raises(UsageError, match='out.w_0'):
        engine.load(fresh)


def test_exported_model_asks_nothing_that_only_a_processor_does(saved, tmp_path):
    """A GPU leaves out what is fused into a convolution, without a word."""
    engine.export(saved, str(tmp_path))
    with fluid.scope_guard(fluid.Scope()):
        program, _, _ = fluid.io.load_inference_model(str(tmp_path), fluid.Executor(fluid.CPUPlace()),
                                                      params_filename='params')
    convolutions = [op for op in program.global_block().ops if op.type == 'conv2d']
    assert len(convolutions) == 2 * srgan_g.RESIDUAL_BLOCKS + 4
    assert not any(op.input('Bias') or op.input('ResidualData') or op.attr('fuse_activation') for op in convolutions)


@pytest.mark.parametrize('length, size, margin', [
    (1, 10, 3), (10, 10, 3), (11, 10, 3), (1000, 80, 36), (20000, 768, 36), (101, 77, 36), (999, 75, 37)])
def test_windows_keep_each_place_once_and_away_from_their_ends(length, size, margin):
    found = windows(length, size, margin)
    kept = [place for _, _, keep in found for place in range(*keep)]
    assert kept == list(range(length))
    assert len({stop - start for start, stop, _ in found}) == 1 and found[0][1] <= size
    for start, stop, keep in found:
        assert 0 <= start and stop <= length
        assert start == 0 == keep[0] or keep[0] - start >= margin
        assert stop == length == keep[1] or stop - keep[1] >= margin
