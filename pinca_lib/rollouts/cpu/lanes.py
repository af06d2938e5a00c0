"""SIMD vectors for Numba: all channels of a cell are loaded, computed and stored at once.

A *lane* is one element of a vector, here one channel. A vector has any number of lanes, and LLVM
splits it into those of the processor. Without vectors, a compiled loop over the few channels of a
cell spends more time on its start (a check whether arrays overlap) than on its work.

- ``sized`` is a tuple with one entry per lane. Only its length is used, because Numba treats the
  length of a tuple as a constant at compile time.
- ``+``, ``-`` and ``*`` work on two vectors, or on a number (on the left) and a vector.
- ``place`` is the index of the first lane in an array: a tuple of integers that are not negative.
  The last ones may be left out and are then 0. Nothing checks that a vector stays in the array.
"""

import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

INT = ir.IntType(32)


class Lanes(types.Type):
    """The Numba type of a vector: its element type and its number of lanes."""

    def __init__(self, dtype: types.Float, count: int):
        self.dtype, self.count = dtype, count
        super().__init__(f"Lanes({dtype}, {count})")


@register_model(Lanes)
class _Vector(models.PrimitiveModel):
    """A vector of LLVM, which needs at least one lane; without lanes its content is not used."""

    def __init__(self, manager, lanes):
        number = manager[lanes.dtype].get_value_type()
        super().__init__(manager, lanes, ir.VectorType(number, max(lanes.count, 1)))


@intrinsic
def load(typing, sized, array, place):
    """Load as many lanes as ``sized`` has entries, from a place in an array on."""
    lanes = Lanes(array.dtype, sized.count)

    def code(context, builder, signature, arguments):
        if not lanes.count:
            return ir.Constant(context.get_value_type(lanes), ir.Undefined)
        at = _pointer(context, builder, signature.args[1:], arguments[1:], lanes)
        return builder.load(at, align=array.dtype.bitwidth // 8)

    return lanes(sized, array, types.UniTuple(types.intp, place.count)), code


@intrinsic
def store(typing, array, place, lanes):
    """Store lanes to an array, from a place on."""

    def code(context, builder, signature, arguments):
        if lanes.count:
            at = _pointer(context, builder, signature.args, arguments, lanes)
            builder.store(arguments[2], at, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.UniTuple(types.intp, place.count), lanes), code


def _pointer(context, builder, kinds, arguments, lanes):
    array = context.make_array(kinds[0])(context, builder, arguments[0])
    strides = cgutils.unpack_tuple(builder, array.strides)
    at = builder.ptrtoint(array.data, strides[0].type)
    for index, stride in zip(cgutils.unpack_tuple(builder, arguments[1]), strides, strict=False):
        at = builder.add(at, builder.mul(index, stride))
    return builder.inttoptr(at, context.get_value_type(lanes).as_pointer())


@intrinsic
def head(typing, lanes, sized):
    """Return the first lanes, as many as ``sized`` has entries."""
    return _chosen(lanes, range(sized.count), sized)


@intrinsic
def tail(typing, lanes, sized):
    """Return the lanes after the ``head``."""
    return _chosen(lanes, range(sized.count, lanes.count), sized)


def _chosen(lanes, which, sized):
    found = Lanes(lanes.dtype, len(which))

    def code(context, builder, signature, arguments):
        return _shuffled(builder, arguments[0], arguments[0], which)

    return found(lanes, sized), code


@intrinsic
def joined(typing, one, other):
    """Return one vector with the lanes of both."""
    lanes, longest = Lanes(one.dtype, one.count + other.count), max(one.count, other.count)

    def code(context, builder, signature, arguments):
        padded = [  # LLVM shuffles only vectors of the same length
            _shuffled(builder, part, part, range(kind.count), longest)
            for part, kind in zip(arguments, signature.args, strict=True)
        ]
        second = range(longest, longest + other.count)
        return _shuffled(builder, *padded, [*range(one.count), *second])

    return lanes(one, other), code


def _shuffled(builder, one, other, which, count=1):
    """Return chosen lanes of two vectors, padded with arbitrary lanes to ``count``."""
    mask = [*which, *[0] * (max(count, 1) - len(which))]
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(INT, len(mask)), mask))


def _define(operation, instruction: str) -> None:
    """Teach Numba an operation on two vectors, or on a number and a vector."""

    @type_callable(operation)
    def type_of(context):
        def typed(one, other):
            if isinstance(other, Lanes) and (one == other or isinstance(one, types.Number)):
                return other

        return typed

    @lower_builtin(operation, Lanes, Lanes)
    @lower_builtin(operation, types.Number, Lanes)
    def code(context, builder, signature, arguments):
        (one, other), (kind, lanes) = arguments, signature.args
        if kind != lanes:
            one = context.cast(builder, one, kind, lanes.dtype)
            vector = builder.insert_element(ir.Constant(other.type, ir.Undefined), one, INT(0))
            one = _shuffled(builder, vector, vector, [0] * other.type.count)
        return getattr(builder, instruction)(one, other, flags=["contract"])


for operation, instruction in (
    (operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"),
):  # fmt: skip
    _define(operation, instruction)
