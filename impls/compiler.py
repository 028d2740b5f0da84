"""Whether there is a C++ compiler, and CUDA's; found out without importing torch."""

import os
import shutil
import sys
from pathlib import Path


def no_compiler_reason() -> str | None:
    """Why PyTorch's compiler finds no C++ compiler, or None; it takes what CXX names, or g++."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler):
        return None
    return f"needs a C++ compiler such as g++, but {compiler} is not found: install it, or set CXX"


def no_nvcc_reason() -> str | None:
    """Why torch.utils.cpp_extension finds no compiler for CUDA, or None; it needs both."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if home is None and shutil.which("nvcc") is None:
        home = "/usr/local/cuda"
    if home is not None and not (Path(home) / "bin" / "nvcc").is_file():
        return (
            f"needs CUDA's compiler, but there is no {home}/bin/nvcc: install the CUDA toolkit, or "
            "set CUDA_HOME"
        )
    return no_compiler_reason()
