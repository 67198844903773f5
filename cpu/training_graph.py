"""Exact rewrites of a program that make it fast on a processor. A GPU gets none of them.

They work on the forward operations: call `for_cpu` before `minimize`, and the gradients follow.
"""
import numpy as np

from cli.paddle_setup import fluid

# Places of a map, out of a convolution, below which its filters weigh more than the map: reordering them at every step
# costs more than oneDNN's own layout gains.
FEW_PLACES = 64
# Channels that oneDNN keeps together, at most.
BLOCK = 16
# What oneDNN computes, and differentiates, in whatever layout its input has. Its batch normalisation, in this Paddle,
# gives zeros for the gradients of scale and shift, and ends the process where they are frozen.
ANY_LAYOUT = ('relu', 'leaky_relu', 'pool2d')


def for_cpu(program):
    """Give the operations of `program` their fastest form on a CPU. Names, values and gradients stay."""
    block = program.global_block()
    for op in [op for op in block.ops if op.type == 'conv2d']:
        few_places = np.prod(block.var(op.output('Output')[0]).shape[2:]) < FEW_PLACES
        if few_places and op.attr('strides') != [1, 1]:
            convolution_as_matmul(block, op)
        else:
            bias_in_convolution(block, op)
            convolution_by_onednn(op, own_layout=not few_places)
    stay_in_layout(block)


def convolution_by_onednn(op, own_layout):
    """Run a convolution, and with it its gradient, by oneDNN, where wanted in the memory layout that it chooses.

    The sums are Paddle's own in another order. `data_format` NCHW holds oneDNN, in training, to a layout for which
    it knows nothing better than a matrix product over unrolled pictures; AnyLayout leaves it the choice, blocks
    of 16 channels where there is AVX-512. Paddle reorders a map for each operation that does not know the blocks.

    The global FLAGS_use_mkldnn corrupts memory in elementwise_add, and the mark on a gradient operation is
    stored with the wrong type; the mark on the forward operation is inherited as it should be.
    """
    op._set_attr('use_mkldnn', True)
    if own_layout:
        op._set_attr('data_format', 'AnyLayout')


def bias_in_convolution(block, op):
    """Let a convolution add its own bias, conv(x) + b in one pass, where nothing asks for that bias's gradient.

    The operation has an input for it, which oneDNN reads; its gradient operation has none.
    """
    readers = [reader for reader in block.ops if op.output('Output')[0] in reader.input_arg_names]
    if len(readers) == 1 and readers[0].type == 'elementwise_add':
        bias = block.var(readers[0].input('Y')[0])
        if isinstance(bias, fluid.framework.Parameter) and not bias.trainable:
            op.desc.set_input('Bias', [bias.name])
            op.desc.set_output('Output', readers[0].output('Out'))
            block._remove_op(block.ops.index(readers[0]))


def stay_in_layout(block):
    """Have oneDNN also compute what follows its convolutions, so that a map stays in their layout up to the next one.

    Only where the blocks are full: Paddle gives a map no memory for the rest of a block, and oneDNN writes it.
    """
    maps = set()
    for op in block.ops:
        if op.type == 'conv2d' and op.attr('data_format') == 'AnyLayout':
            maps.update(name for name in op.output('Output') if block.var(name).shape[1] % BLOCK == 0)
        elif op.type in ANY_LAYOUT and maps.issuperset(op.input('X')):
            op._set_attr('use_mkldnn', True)
            maps.update(op.output('Out'))


def convolution_as_matmul(block, op):
    """Replace a 'SAME' convolution of a small map by one matrix product over all pictures and places.

    Convolution is the product of the filters [F, C*k*k] with the patches [C*k*k, places], which `unfold` lays
    out; here the patches of the whole batch stand in one matrix. D's last convolutions have up to 33 million
    weights and a handful of places: Paddle's own kernel reads all weights once a picture, oneDNN's weight
    gradient is slower still (measured for 1024 -> 2048 at 3 x 3, batch 8: 1.4, 2.9 and 0.17 s; D's step on two crops
    of 384: 13.1 s by oneDNN, 2.7 s so).
    """
    x, weight = block.var(op.input('Input')[0]), block.var(op.input('Filter')[0])
    out = block.var(op.output('Output')[0])
    filters, channels, kernel = weight.shape[:3]
    stride, (height, width) = op.attr('strides')[0], x.shape[2:]
    out_height, top, bottom = same_padding(height, kernel, stride)
    out_width, left, right = same_padding(width, kernel, stride)
    patch = channels * kernel * kernel
    index = block.ops.index(op)

    def append(op_type, inputs, output, attrs, shape, frozen=False):
        nonlocal index
        if not isinstance(output, fluid.framework.Variable):
            output = block.create_var(name=fluid.unique_name.generate(out.name + '.' + output), dtype=x.dtype,
                                      shape=shape, stop_gradient=frozen)
        outputs = {'Y' if op_type == 'unfold' else 'Out': output}
        if op_type in ('reshape2', 'transpose2'):
            outputs['XShape'] = block.create_var(name=fluid.unique_name.generate(output.name + '.xshape'),
                                                 dtype=x.dtype, stop_gradient=True)
        block._insert_op(index, type=op_type, inputs=inputs, outputs=outputs, attrs=attrs)
        index += 1
        return output

    places = out_height * out_width
    patches = append('unfold', {'X': x}, 'unfold',
                     {'kernel_sizes': [kernel, kernel], 'strides': [stride, stride],
                      'paddings': [top, left, bottom, right], 'dilations': [1, 1]}, [-1, patch, places])
    patches = append('transpose2', {'X': patches}, 'patches', {'axis': [0, 2, 1]}, [-1, places, patch])
    rows = append('reshape2', {'X': patches}, 'rows', {'shape': [-1, patch]}, [-1, patch])
    matrix = append('reshape2', {'X': weight}, 'filters', {'shape': [filters, patch]}, [filters, patch],
                    frozen=weight.stop_gradient)
    product = append('matmul', {'X': rows, 'Y': matrix}, 'product',
                     {'transpose_X': False, 'transpose_Y': True, 'alpha': 1.0}, [-1, filters])
    product = append('reshape2', {'X': product}, 'places', {'shape': [-1, places, filters]}, [-1, places, filters])
    product = append('transpose2', {'X': product}, 'maps', {'axis': [0, 2, 1]}, [-1, filters, places])
    append('reshape2', {'X': product}, out, {'shape': [-1, filters, out_height, out_width]}, None)
    block._remove_op(block.ops.index(op))


def same_padding(size, kernel, stride):
    """Output size, padding before and padding after of a 'SAME' convolution along one side."""
    out = -(-size // stride)
    padding = max((out - 1) * stride + kernel - size, 0)
    return out, padding // 2, padding - padding // 2
