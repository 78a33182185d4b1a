"""Kernels as methods of Python objects, for calls that do little: 8 ns per call instead of 100.

Such a kernel takes the addresses of two objects, and reads the fields of an array from the array object itself.
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
"""Inside the kernel of a `method`, which holds the GIL: a Python integer to return, made from a machine integer."""

_WORD: Final = np.dtype(np.int64)
TYPE: Final = object.__basicsize__ // 8 - 1
DATA, SHAPE, STRIDES = (object.__basicsize__ // 8 + place for place in (0, 2, 3))
"""Words of `array_fields`: addresses of the class, the first item, the shape and the strides."""


@inlined
def array_fields(array: Any) -> Any:
    """Inside a kernel, the words of a numpy array object, given the address that `id` returns.

    The layout is part of numpy's C API. No reference is counted: the caller keeps the array alive.
    """
    return array_at(array, (STRIDES + 1,), _WORD)


class _Definition(ctypes.Structure):
    """PyMethodDef of CPython."""

    _fields_ = (("name", ctypes.c_char_p), ("code", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p))


_METH_O: Final = 8  # of CPython: one argument, passed without a tuple
_new_method: Final = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)(
    ("PyCFunction_NewEx", ctypes.pythonapi)
)


def method(function: Callable[[int, int], int], owner: object) -> Callable[[Any], int]:
    """The machine code of a kernel as a method of `owner` that takes one object: 8 ns per call.

    `direct` takes 60 ns to unpack two arguments, and 40 more to release the GIL, which is held here. The kernel takes
    the addresses of `owner` and of the object, see `array_fields`, and returns the result of `as_object`. Nothing is
    checked. A kernel that raises causes a SystemError.
    """
    if not JIT_ENABLED:
        return lambda one: function(id(owner), id(one))
    made: Callable[[Any], int] = _new_method(ctypes.addressof(_definition(function)), owner, None)
    return made


@functools.cache
def _definition(function: Callable[[int, int], int]) -> _Definition:
    """The method definition, cached because CPython keeps a pointer to it."""
    dispatcher: Any = function
    signature = (_numba.types.int64, _numba.types.int64)
    dispatcher.compile(signature)
    compiled = dispatcher.overloads[signature]._asdict()
    code = compiled["library"].get_pointer_to_function(compiled["fndesc"].llvm_cfunc_wrapper_name)
    return _Definition(dispatcher.__name__.encode(), code, _METH_O, None)
