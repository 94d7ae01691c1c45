"""Shrinks the image's virtual environment: deletes unused files, compiles the others.

The build runs it after pip installed the dependencies without bytecode. `make image-check` runs
`serve`, `predict` and `benchmark` in the finished image.
"""

import compileall
import re
import shutil
import sys
import sysconfig
from pathlib import Path

UNUSED = {
    "torch/include": "C++ headers, and the image holds no compiler",
    "torch/share": "CMake files for C++ programs",
    "torch/test": "torch's own C++ tests",
    "torch/bin/[!t]*": "protoc, and tests of torch",
    "torch/bin/test_*": "tests of torch; torch_shm_manager stays, it shares tensors",
    "torch/lib/*.a": "static libraries",
    "torch/lib/*_test.so": "tests of torch",
    "*/tests": "tests of numpy, scipy, numba, sympy, networkx and mpmath",
    "{numpy,scipy,numba,sympy,networkx}/**/tests": "the same, further down",
    "scipy/{cluster,differentiate,fftpack,integrate,interpolate,io,odr,optimize}": "not imported",
    "scipy/{datasets,misc,signal,stats}": "not imported: `ndimage`, `special`, `sparse` are",
    "babel/locale-data/[!dezr]*": "the console speaks en, de and zh; `root` is below them",
    "onnxruntime/{transformers,tools,quantization,datasets}": "they make models; we run them",
}
"""Paths under site-packages, with the reason for each."""

NOT_COMPILED = re.compile(
    r"/torch/(_inductor|onnx|testing|distributed/(_tools|checkpoint|elastic|pipelining))/"
    r"|/sympy/(physics|plotting|parsing|stats|vector|crypto|holonomic|diffgeom|geometry)/"
    r"|/networkx/|/numba/cuda/|/numpy/(f2py|typing)/|/pygments/lexers/"
)
"""Modules without bytecode: serving imports few of them, and Python compiles those in memory."""


def main() -> None:
    """Shrink the environment of the running Python."""
    packages = Path(sysconfig.get_path("purelib"))
    for pattern in UNUSED:
        for path in expand(packages, pattern):
            remove(path)
    if not compileall.compile_dir(packages, quiet=2, rx=NOT_COMPILED, workers=0):
        print("some files could not be compiled, as is usual for templates", file=sys.stderr)


def expand(folder: Path, pattern: str) -> list[Path]:
    """Return the paths that match a pattern with one `{a,b}`."""
    start, _, remainder = pattern.partition("{")
    names, _, end = remainder.partition("}")
    patterns = [start + name + end for name in names.split(",")] if remainder else [pattern]
    return [path for alternative in patterns for path in sorted(folder.glob(alternative))]


def remove(path: Path) -> None:
    """Delete a file or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
