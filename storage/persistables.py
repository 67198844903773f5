"""Paddle's file format for variables: a directory with one file a variable, as fluid.io.save_persistables writes it.

Paddle's own functions load a truncated file without an error, answer a missing file with a C++ stack trace, and do not
report a full disk. Here reading and writing go through Python: every file is checked when it is read, a failed write
raises OSError, and the files are equal to Paddle's byte for byte.
"""
import os
import struct

import numpy as np
from google.protobuf.message import DecodeError

from cli.paddle_setup import fluid

VarType = fluid.proto.framework_pb2.VarType

# Version of the variable, number of LoD levels, version of the tensor, length of its TensorDesc.
HEADER = '<IQIi'
DTYPES = {VarType.INT32: np.dtype('int32'), VarType.INT64: np.dtype('int64'),
          VarType.FP32: np.dtype('float32'), VarType.FP64: np.dtype('float64')}
DTYPE_NUMBERS = {dtype: number for number, dtype in DTYPES.items()}


class FormatError(ValueError):
    """A file does not hold exactly one variable; the message names the file."""


def encode(array):
    """Return Paddle's file for `array` as bytes: versions, no LoD levels, a TensorDesc of dtype and shape, the data."""
    description = VarType.TensorDesc(data_type=DTYPE_NUMBERS[array.dtype], dims=array.shape).SerializeToString()
    return struct.pack(HEADER, 0, 0, 0, len(description)) + description + np.ascontiguousarray(array).tobytes()


def decode(data, path):
    """Return the array in `data`, the content of the file `path`. Raises FormatError."""
    try:
        version, lod_levels, tensor_version, length = struct.unpack_from(HEADER, data)
        start = struct.calcsize(HEADER) + length
        description = VarType.TensorDesc.FromString(data[struct.calcsize(HEADER):start])
        dtype, shape = DTYPES[description.data_type], tuple(description.dims)
    except (struct.error, DecodeError, KeyError):
        raise FormatError('%s is not a variable saved by Paddle' % path)
    if (version, lod_levels, tensor_version) != (0, 0, 0) or min(shape, default=1) < 0:
        raise FormatError('%s is not a variable saved by Paddle' % path)
    expected = start + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    if len(data) != expected:
        raise FormatError('%s is %s: %d bytes instead of %d' % (
            path, 'truncated' if len(data) < expected else 'too long', len(data), expected))
    return np.frombuffer(data, dtype, offset=start).reshape(shape)


def path_of(directory, name):
    """The path of the file of variable `name`; a slash in the name makes a sub-folder."""
    return os.path.join(directory, *name.split('/'))


def write_variable(directory, name, array):
    """Write one variable; return the bytes written. Raises OSError, for example if the disk is full or read-only."""
    path = path_of(directory, name)
    data = encode(array)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as file:
        file.write(data)
    return data


def read_variable(directory, name):
    """Read one variable as an array. Raises FileNotFoundError or FormatError."""
    path = path_of(directory, name)
    with open(path, 'rb') as file:
        return decode(file.read(), path)


def set_variable(scope, name, array):
    """Set variable `name` of a fluid scope to `array`, on the GPU if it already lies there, else on the CPU."""
    tensor = scope.var(name).get_tensor()
    on_gpu = tensor._is_initialized() and tensor._place().is_gpu_place()
    tensor.set(array, fluid.CUDAPlace(tensor._place().gpu_device_id()) if on_gpu else fluid.CPUPlace())


def get_variable(scope, name):
    """A copy of variable `name` of a fluid scope, as an array."""
    return np.array(scope.find_var(name).get_tensor())
