"""Whether there is a C++ compiler, found out without importing torch."""

import os
import shutil
import sys


def no_compiler_reason() -> str | None:
    """Why PyTorch's compiler finds no C++ compiler, or None; it takes what CXX names, or g++."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler):
        return None
    return f"needs a C++ compiler such as g++, but {compiler} is not found: install it, or set CXX"
