"""The one way a hot kernel is compiled, and where its machine code is kept.

Every kernel in the project is declared with `@kernel`, so compilation options live here alone. Set
`NUMBA_DISABLE_JIT=1` to run all kernels as plain Python, `NUMBA_BOUNDSCHECK=1` to check every index: the kernel tests
run both ways.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar, cast

import numba
import numpy as np
from numba.core import caching as untyped_caching
from numba.core import event as untyped_event
from numba.core import runtime as untyped_runtime
from numba.extending import intrinsic

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")

JIT_ENABLED: Final = os.environ.get("NUMBA_DISABLE_JIT", "0") == "0"
BOUNDS_CHECKED: Final = os.environ.get("NUMBA_BOUNDSCHECK", "0") not in ("", "0")
STALE_CACHE_S: Final = 86_400.0
"""Age at which the machine code of other versions of the sources is removed."""

COMPLETE: Final = "complete"  # marker file next to the machine code: the cache holds all that a start needs
PACKAGE: Final = Path(__file__).parent
"""Folder of the package. Modules are looked up by dotted name, so this holds through the links of a checkout too."""

declared: Final[dict[str, list[str]]] = {}
"""Kernels by the module that declares them, for the modules imported so far."""

# The parts of numba that carry no types.
_caching: Any = untyped_caching
_event: Any = untyped_event
_numba: Any = numba
_runtime: Any = untyped_runtime
_IMPORT: Final = re.compile(
    r"^[ \t]*(?:from[ \t]+(tickplant[\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^\n]+)|import[ \t]+(tickplant[\w.]*))",
    re.MULTILINE,
)


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` on first use, keep the machine code on disk, and release the GIL while it runs.

    An index that is a sum of two variables, as in `out[begin + k]`, is unsigned in an inner loop, or the loop runs over
    a slice. numba compares a signed one with zero, to count from the end; LLVM then cannot see that the elements
    lie in a row, and loads and stores them one by one, by `vpgatherqq` and `vpscatterqq` where the processor has those.
    """
    return _declare(function, nogil=True)


def brief_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """As `kernel`, but the GIL is kept: for kernels so short that releasing it, at 40 ns, would not pay."""
    return _declare(function, nogil=False)


def _declare(function: Callable[P, R], *, nogil: bool) -> Callable[P, R]:
    declared.setdefault(function.__module__, []).append(function.__qualname__)
    _choose_cache(function.__module__)
    dispatcher: Any = numba.njit(nogil=nogil)(function)
    if JIT_ENABLED:
        dispatcher._cache = _MachineCode(function)  # as `cache=True` does, with a class of our own
    return cast("Callable[P, R]", dispatcher)


def direct(function: Callable[P, R], *arguments: Any) -> Callable[P, R]:
    """The machine code of a kernel for arguments of these types, without numba's dispatcher.

    Resolving the argument types costs 0.2 to 0.3 us per call, more than the rest of a small publish. The returned
    function checks no types: the caller must pass the types promised here. Arrays that are only read may be read-only.
    An entry of `arguments` may also be a numba type.
    """
    if not JIT_ENABLED:
        return function
    dispatcher: Any = function
    signature = signature_of(arguments)
    if (compiled := dispatcher.overloads.get(signature)) is None:  # `compile` looks too, for 40 us
        dispatcher.compile(signature)
        compiled = dispatcher.overloads[signature]
    return cast("Callable[P, R]", compiled.entry_point)


def signature_of(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The types of arguments, some of which are types."""
    return tuple(
        argument if isinstance(argument, _numba.types.Type) else _numba.typeof(argument) for argument in arguments
    )


# numba compares the item size of an array with that of the declared type, except for types that numpy lacks.
ANY_RECORDS: Final[Any] = _numba.types.Array(_numba.types.voidptr, 1, "C")
"""The type to give `direct` for an argument that is contiguous records of any dtype: not checked."""

ANY_STRIDED_RECORDS: Final[Any] = _numba.types.Array(_numba.types.voidptr, 1, "A")
"""Likewise for records that need not be contiguous; the kernel looks at their strides."""


class _MachineCode(_caching.FunctionCache):  # type: ignore[misc]  # numba's classes carry no types
    """Loads cached code without numba's own functions, which only a compilation needs: 0.2 s and 10 MiB."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The kernel for these types; None if it must be compiled, in which case numba's functions are loaded too."""
        _runtime.rtsys.initialize(target_context)  # the functions that machine code calls
        with self._guard_against_spurious_io_errors():
            if (found := self._load_overload(sig, target_context)) is not None:
                return found
        return super().load_overload(sig, target_context)


def guarded(function: Callable[P, R], name: str) -> Callable[P, R]:
    """A kernel from outside the package, compiled with bounds checks: an index out of range raises IndexError.

    The functions that it calls in its own module are checked too, except those that were compiled when declared.

    Args:
        function: a plain function, or one made by numba or `kernel`.
        name: names its machine code in the cache; must differ whenever its text or this package differs.
    """
    plain: Any = getattr(function, "py_func", function)
    if not JIT_ENABLED:
        return cast("Callable[P, R]", plain)
    for one in plain.__globals__.copy().values():
        called = getattr(one, "py_func", None)
        if called is not None and called.__module__ == plain.__module__ and not one.overloads:
            one.targetoptions["boundscheck"] = True
    dispatcher: Any = numba.njit(nogil=True, boundscheck=True)(plain)
    if folder := _kept_in(f"tickplant-{name}"):
        vars(numba.config)["CACHE_DIR"] = str(folder)
        dispatcher._cache = _MachineCode(plain)
    return cast("Callable[P, R]", dispatcher)


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """A function compiled into each kernel that uses it: no call, and no machine code of its own."""
    return cast("Callable[P, R]", numba.njit(nogil=True, forceinline=True)(function))


def part(function: Callable[P, R]) -> Callable[P, R]:
    """A function that kernels call; its machine code is kept with that of each caller."""
    return cast("Callable[P, R]", numba.njit(nogil=True)(function))


def _borrowed(_: Any, array: Any) -> Any:
    """The code that numba emits for `borrowed`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        view.meminfo = view.meminfo.type(None)
        view.parent = view.parent.type(None)
        return view._getvalue()

    return array(array), generate


def _itself(array: A) -> A:
    return array


borrowed: Final[Callable[[A], A]] = cast("Callable[[A], A]", intrinsic(_borrowed)) if JIT_ENABLED else _itself
"""An array without its reference count, inside a kernel whose caller holds on to it.

numba increments and decrements the count wherever a function with branches passes an array on. Each is an atomic
operation, and twenty of them cost more than the rest of an order's update of a book. Measured, with `inlined`: 110 ns
per order instead of 580 ns.
"""


def _pointed(_: Any, address: Any) -> Any:
    """The code that numba emits for `_pointer`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return _numba.types.voidptr(address), generate


_pointer: Any = intrinsic(_pointed) if JIT_ENABLED else None


def _array_at(address: Any, shape: Any, dtype: Any) -> Any:
    return _numba.carray(_pointer(address), shape, dtype)


def _plain_array_at(address: Any, shape: Any, dtype: Any) -> Any:
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return np.ndarray(shape, dtype, (ctypes.c_char * size).from_address(int(address)))


array_at: Final[Callable[[Any, tuple[Any, ...], Any], Any]] = inlined(_array_at) if JIT_ENABLED else _plain_array_at
"""Inside a kernel, the array of this shape and type at an address. The caller keeps the array alive; nothing checks.

Each array that Python passes to a kernel adds 40 ns to the call. So a kernel's work arrays are listed in one array of
addresses and lengths, and the caller passes the address of that list. The type is a constant of the kernel's module.
"""


def _noted(memory: Any, place: Any, dtype: Any) -> Any:
    return array_at(memory[place], (memory[place + 1],), dtype)


noted: Final[Callable[[Any, Any, Any], Any]] = inlined(_noted) if JIT_ENABLED else _noted
"""Inside a kernel, the flat array that `records.arrays.note` noted at a place of a memory."""


@contextlib.contextmanager
def compiling(tell: Callable[[str, str], object]) -> Iterator[None]:
    """Call `tell(module, kernel)` whenever the compilation of a kernel begins; each may take seconds."""

    class Listener(_event.Listener):  # type: ignore[misc]  # numba's classes carry no types
        def on_start(self, event: Any) -> None:
            function = event.data["dispatcher"].py_func
            tell(function.__module__, function.__qualname__)

        def on_end(self, event: Any) -> None:
            pass

    with _event.install_listener("numba:compile", Listener()):
        yield


def count_declared() -> int:
    """How many kernels the modules imported so far declare."""
    return sum(map(len, declared.values()))


def all_cached() -> bool:
    """Whether `mark_all_cached` has marked every module whose kernels are declared so far."""
    if not JIT_ENABLED:
        return True
    return all((folder := _folder(module)) is not None and (folder / COMPLETE).exists() for module in declared)


def mark_all_cached() -> None:
    """Mark the kernels declared so far as cached: the process has just used all that it needs of them."""
    for module in declared if JIT_ENABLED else ():
        if folder := _folder(module):
            with contextlib.suppress(OSError):
                (folder / COMPLETE).touch()


def _choose_cache(module: str) -> None:
    """Give the kernels that `module` is about to declare a cache folder of their own.

    numba notices only a change of the file that defines a kernel. It misses changes of kernels and constants that the
    kernel uses from other files, and would run old code after an update. So the folder's name is a digest of all of
    them.
    """
    if JIT_ENABLED and (folder := _folder(module)):
        vars(numba.config)["CACHE_DIR"] = str(folder)  # an attribute made at run time: type checkers do not know it


@functools.cache
def _folder(module: str) -> Path | None:
    """The cache folder for a module's kernels; None if no place is writable."""
    return _kept_in(f"tickplant-{module.removeprefix('tickplant.')}-{source_digest(module)}")


def _kept_in(name: str) -> Path | None:
    """The cache folder of this name; None if no place is writable."""
    for base in (os.environ.get("NUMBA_CACHE_DIR"), Path(__file__).parent / "__pycache__", _user_cache()):
        if base is None:
            continue
        folder = Path(base) / name
        try:
            if not folder.exists():
                folder.mkdir(parents=True, exist_ok=True)
                _remove_stale(folder)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return None


def source_digest(module: str, package: Path = PACKAGE) -> str:
    """Digest of all that determines the machine code of a module's kernels: the sources, and how numba compiles.

    The sources are the module and the modules of the package that it imports, directly or indirectly: a kernel's
    callees and constants come from there. A change elsewhere triggers no compilation.
    """
    return _digest(_sources([module], package))


def text_digest(text: bytes) -> str:
    """As `source_digest`, for a module outside the package, given its source."""
    return _digest({"": text} | _sources(_imported(text), PACKAGE))


def _digest(sources: dict[str, bytes]) -> str:
    digest = hashlib.blake2b(f"{numba.__version__} {os.environ.get('NUMBA_BOUNDSCHECK', '')}".encode(), digest_size=8)
    for name, text in sorted(sources.items()):
        digest.update(f"{name}\0".encode() + text)
    return digest.hexdigest()


def _sources(modules: Iterable[str], package: Path) -> dict[str, bytes]:
    """The text of these modules and of all modules of the package that they import, by dotted name."""
    found: dict[str, bytes] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or (text := _read_module(name, package)) is None:
            continue
        found[name] = text
        waiting += _imported(text)
    return found


@functools.cache
def _imported(text: bytes) -> list[str]:
    """Dotted names that a source imports from the package; some of them are not modules."""
    names = []
    for source, words, plain in _IMPORT.findall(text.decode()):
        names.append(source or plain)
        # A name imported from a package may be one of its modules.
        names += [f"{source}.{word}" for word in re.findall(r"\w+", words)]
    return names


@functools.cache
def _read_module(name: str, package: Path) -> bytes | None:
    """The source of a module, by dotted name; None if the name is, say, a function's or that of the whole package."""
    path = package.joinpath(*name.split(".")[1:])
    if path == package:
        return None
    file = path.with_suffix(".py") if not path.is_dir() else path / "__init__.py"
    return file.read_bytes() if file.is_file() else None


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tickplant"


def _remove_stale(current: Path) -> None:
    """Remove old machine code of other versions of the same module, or of the whole package when kept as one."""
    module = current.name.rpartition("-")[0]
    for other in current.parent.glob("tickplant-*"):
        with contextlib.suppress(OSError):
            if other == current or other.name.rpartition("-")[0] not in (module, "tickplant"):
                continue
            if time.time() - other.stat().st_mtime > STALE_CACHE_S:
                shutil.rmtree(other)
