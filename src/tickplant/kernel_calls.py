"""Calls from one kernel to another by address, so that the callee can be chosen at run time.

A kernel called this way is compiled, cached and loaded once, not again with each caller. The arguments must have
exactly the types for which the pointer was made: nothing checks them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar, cast

import numba
from numba.extending import intrinsic

from tickplant.kernels import JIT_ENABLED, direct, signature_of

P = ParamSpec("P")
R = TypeVar("R")

_plain: Final[dict[int, Callable[..., Any]]] = {}
"""The functions given to `pointer`, when the JIT is disabled."""

_numba: Any = numba  # the parts used here carry no types


def pointer(function: Callable[P, R], *arguments: Any) -> int:
    """The address of a kernel's machine code for arguments of these types, for use by `call` and `invoke`.

    Without the JIT: a number of the function. The code lives as long as the kernel, so as long as the kernel's module.
    """
    if not JIT_ENABLED:
        _plain[id(function)] = function
        return id(function)
    direct(function, *arguments)
    dispatcher: Any = function
    compiled = dispatcher.overloads[signature_of(arguments)]._asdict()
    return int(compiled["library"].get_pointer_to_function(compiled["fndesc"].llvm_func_name))


def _called(_: Any, pointer: Any, inputs: Any, parameters: Any, state: Any, out: Any) -> Any:
    """The code that numba emits for `call`."""
    returned, taken = _numba.types.none, (inputs, parameters, state, out)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        convention = context.call_conv
        code = builder.inttoptr(arguments[0], convention.get_function_type(returned, taken).as_pointer())
        status, _ = convention.call_function(builder, code, returned, taken, arguments[1:])
        return status.is_ok

    return _numba.types.boolean(pointer, *taken), generate


def _call(pointer: Any, inputs: Any, parameters: Any, state: Any, out: Any) -> bool:
    _plain[int(pointer)](inputs, parameters, state, out)
    return True


call: Final[Callable[[Any, Any, Any, Any, Any], bool]] = cast("Any", intrinsic(_called)) if JIT_ENABLED else _call
"""Inside a kernel, call an indicator's kernel by its `pointer`; returns False if that raised any error."""


def _invoked(_: Any, pointer: Any, arguments: Any) -> Any:
    """The code that numba emits for `invoke`."""
    taken = tuple(arguments)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        convention, returned = context.call_conv, _numba.types.int64
        code = builder.inttoptr(values[0], convention.get_function_type(returned, taken).as_pointer())
        given = [builder.extract_value(values[1], place) for place in range(len(taken))]
        status, result = convention.call_function(builder, code, returned, taken, given)
        with builder.if_then(status.is_error, likely=False):
            convention.return_status_propagate(builder, status)
        return result

    return _numba.types.int64(pointer, arguments), generate


def _invoke(pointer: Any, arguments: tuple[Any, ...]) -> int:
    return int(_plain[int(pointer)](*arguments))


invoke: Final[Callable[[Any, tuple[Any, ...]], int]] = cast("Any", intrinsic(_invoked)) if JIT_ENABLED else _invoke
"""Inside a kernel, call a kernel that returns an integer by its `pointer`. Errors propagate to the caller."""
