"""Paddle's file format for variables: a directory with one file a variable, as fluid.io.save_persistables writes it.

Paddle's own loading takes a truncated file without a word and answers a missing one with a C++ stack; its
saving says nothing of a full disk. Here both go through Python: what is read is checked, what cannot be
written raises OSError, and the files are Paddle's to the byte.
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
    """A file is not one whole variable; the message names the file."""


def encode(array):
    """The bytes of Paddle's file for `array`: versions, no LoD, a TensorDesc of dtype and shape, the data."""
    description = VarType.TensorDesc(data_type=DTYPE_NUMBERS[array.dtype], dims=array.shape).SerializeToString()
    return struct.pack(HEADER, 0, 0, 0, len(description)) + description + np.ascontiguousarray(array).tobytes()


def decode(data, path):
    """The array that `data`, the content of the file `path`, holds. Raises FormatError."""
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
        raise FormatError('%s is %s: %d bytes in place of %d' % (
            path, 'truncated' if len(data) < expected else 'too long', len(data), expected))
    return np.frombuffer(data, dtype, offset=start).reshape(shape)


def path_of(directory, name):
    """Where Paddle keeps the variable `name`; a slash in a name is a sub-folder."""
    return os.path.join(directory, *name.split('/'))


def write_variable(directory, name, array):
    """Write one variable; returns the bytes written. Raises OSError where the disk is full or read-only."""
    path, data = path_of(directory, name), encode(array)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as file:
        file.write(data)
    return data


def read_variable(directory, name):
    """Read one variable as an array. Raises FileNotFoundError, FormatError."""
    path = path_of(directory, name)
    with open(path, 'rb') as file:
        return decode(file.read(), path)


def set_variable(scope, name, array):
    """Give the variable `name` of a fluid scope its value, on the device that the variable lies on."""
    tensor = scope.var(name).get_tensor()
    on_gpu = tensor._is_initialized() and tensor._place().is_gpu_place()
    tensor.set(array, fluid.CUDAPlace(tensor._place().gpu_device_id()) if on_gpu else fluid.CPUPlace())


def get_variable(scope, name):
    """The value of the variable `name` of a fluid scope."""
    return np.array(scope.find_var(name).get_tensor())
