"""Exact rewrites of a training program that make it fast on a CPU. A program for a GPU stays as it is.

The rewrites change the forward operations: call `for_cpu` before `minimize`, so that the gradients follow them.
"""
import numpy as np

from cli.paddle_setup import fluid

# If a convolution's output map has fewer places (height * width), its filters are larger than the map, and reordering
# the filters at every step costs more than oneDNN's own memory layout gains.
FEW_PLACES = 64
# oneDNN's memory layouts keep up to this many channels together, as a block.
BLOCK = 16
# Operations that oneDNN computes and differentiates in any memory layout. Batch normalisation is not among them: that
# of oneDNN, in this Paddle, gives zero gradients for scale and shift, and ends the process if they are frozen.
ANY_LAYOUT = ('relu', 'leaky_relu', 'pool2d')


def for_cpu(program):
    """Give the operations of `program` their fastest form on a CPU. Names, values and gradients do not change."""
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
    """Run a convolution and its gradient by oneDNN, with `own_layout` in a memory layout that oneDNN chooses.

    The result is Paddle's, summed in another order. In training, `data_format` NCHW ties oneDNN to a layout that it can
    only compute as a matrix product over unrolled pictures. With AnyLayout it chooses, and takes blocks of 16 channels
    if the CPU has AVX-512. Paddle reorders a map for each operation that does not know blocks.

    `use_mkldnn` is set on the forward operation, and its gradient inherits it. Set on the gradient operation, it would
    be stored with the wrong type. The global FLAGS_use_mkldnn corrupts memory in elementwise_add.
    """
    op._set_attr('use_mkldnn', True)
    if own_layout:
        op._set_attr('data_format', 'AnyLayout')


def bias_in_convolution(block, op):
    """Let a convolution with a frozen bias add it in the same pass, in place of an elementwise_add behind it.

    oneDNN's convolution has an input for the bias, but its gradient operation gives no gradient for it.
    """
    readers = [reader for reader in block.ops if op.output('Output')[0] in reader.input_arg_names]
    if len(readers) == 1 and readers[0].type == 'elementwise_add':
        bias = block.var(readers[0].input('Y')[0])
        if isinstance(bias, fluid.framework.Parameter) and not bias.trainable:
            op.desc.set_input('Bias', [bias.name])
            op.desc.set_output('Output', readers[0].output('Out'))
            block._remove_op(block.ops.index(readers[0]))


def stay_in_layout(block):
    """Have oneDNN also compute the operations behind its convolutions, so that a map keeps its layout up to the next.

    Only maps whose channels fill whole blocks: oneDNN also writes the rest of a block, for which Paddle reserves no
    memory.
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

    A convolution is the product of the filters [F, C*k*k] with the patches [C*k*k, places] that `unfold` lays out. Here
    the patches of the whole batch stand in one matrix. D's last convolutions have up to 33 million weights and a
    handful of places: Paddle's kernel reads all weights once for each picture, and oneDNN's weight gradient is slower
    still. Measured for 1024 -> 2048 channels at 3 x 3, batch 8: Paddle 1.4 s, oneDNN 2.9 s, this 0.17 s; for D's step
    on two crops of 384: oneDNN 13.1 s, this 2.7 s.
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
        """Insert an operation before the convolution -> its output: `output`, or a new variable with this suffix."""
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
    """-> (output size, padding before, padding after) of a 'SAME' convolution along one side."""
    out = -(-size // stride)
    padding = max((out - 1) * stride + kernel - size, 0)
    return out, padding // 2, padding - padding // 2
