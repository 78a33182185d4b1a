"""Kernels as methods of Python objects, for calls that do little: 8 ns each in place of 100.

A kernel of this kind takes the addresses of two objects. What it needs of an array it reads where numpy notes it.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any, Final

import numba
import numpy as np

from tickplant.kernels import JIT_ENABLED, array_at, inlined

_numba: Any = numba  # carries no types

as_object: Final[Callable[[int], int]] = (
    _numba.types.ExternalFunction("PyLong_FromLongLong", _numba.types.int64(_numba.types.int64))
    if JIT_ENABLED
    else lambda integer: integer
)
"""Inside the kernel of a `method`, which has the GIL: an integer as Python's, to be returned."""

_WORD: Final = np.dtype(np.int64)
TYPE: Final = object.__basicsize__ // 8 - 1
DATA, SHAPE, STRIDES = (object.__basicsize__ // 8 + place for place in (0, 2, 3))
"""Words of `array_fields`: addresses of the class, the first item, the shape and the strides."""


@inlined
def array_fields(array: Any) -> Any:
    """Inside a kernel, the words of a numpy array itself, which stands at the address that `id` gives.

    Its layout is part of numpy's interface for C. The array is not counted: its caller holds on to it.
    """
    return array_at(array, (STRIDES + 1,), _WORD)


class _Definition(ctypes.Structure):
    """PyMethodDef of CPython."""

    _fields_ = (("name", ctypes.c_char_p), ("code", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p))


_METH_O: Final = 8  # of CPython: one argument, handed over without a tuple
_new_method: Final = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)(
    ("PyCFunction_NewEx", ctypes.pythonapi)
)


def method(function: Callable[[int, int], int], owner: object) -> Callable[[Any], int]:
    """The machine code of a kernel as a method of `owner`, which one object is handed to: 8 ns a call.

    `direct` takes 60 ns to unpack two arguments, and 40 more to give up the GIL, which is kept here. The kernel takes
    the addresses of `owner` and of the object, see `array_fields`, and returns what `as_object` gives. Nobody checks.
    A kernel that raises ends in SystemError.
    """
    if not JIT_ENABLED:
        return lambda one: function(id(owner), id(one))
    made: Callable[[Any], int] = _new_method(ctypes.addressof(_definition(function)), owner, None)
    return made


@functools.cache
def _definition(function: Callable[[int, int], int]) -> _Definition:
    """What CPython keeps pointing to."""
    dispatcher: Any = function
    signature = (_numba.types.int64, _numba.types.int64)
    dispatcher.compile(signature)
    compiled = dispatcher.overloads[signature]._asdict()
    code = compiled["library"].get_pointer_to_function(compiled["fndesc"].llvm_cfunc_wrapper_name)
    return _Definition(dispatcher.__name__.encode(), code, _METH_O, None)
