"""How many threads numpy's matrix products use, set where numpy has been loaded already."""

from __future__ import annotations

import ctypes
import os
import sys

MODULES = ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath")
# As the wheels of numpy 2 and 1 name it, and a system's OpenBLAS.
SETTERS = ("scipy_openblas_set_num_threads64_", "openblas_set_num_threads64_", "openblas_set_num_threads")


def use_one_blas_thread() -> bool:
    """Have OpenBLAS compute in the thread that calls it, unless OPENBLAS_NUM_THREADS says otherwise.

    Our products are small, and workers run in parallel already: more threads only wait for each other. Measured on two
    busy cores, the mouth shapes of a block take 18 to 148 ms with two threads and 5 ms with one. The command line sets
    the variable before numpy is loaded; a program that imports us has loaded numpy long before.

    Returns whether it was set here; other libraries than OpenBLAS are left as they are.
    """
    if "OPENBLAS_NUM_THREADS" in os.environ:
        return False
    module = next((sys.modules[name] for name in MODULES if name in sys.modules), None)
    path = getattr(module, "__file__", None)
    if path is None:
        return False
    library = ctypes.CDLL(path)  # loaded already; a name is looked up in what it depends on, too
    setter = next((getattr(library, name) for name in SETTERS if hasattr(library, name)), None)
    if setter is None:
        return False
    setter(ctypes.c_int(1))
    return True
