"""Makes small fixtures from whole ones: of what the reference computed, the logits of the decoding steps stay whole and
everything else becomes a sketch.

    python sketch.py WHOLE NAME [--whole CASE ...]   the fixture NAME of the folder WHOLE, into this one
    python sketch.py                                 sketch.json, which holds Rust and JavaScript to the same numbers

README.md describes the format, engine/src/sketch.rs the signs and the error of the estimate. Needs numpy, safetensors.
"""

import argparse
import json
import pathlib
import shutil

import numpy
from safetensors.numpy import load_file, save_file

HERE = pathlib.Path(__file__).parent
EXPECTED = "expected.safetensors"
PROJECTIONS = 256
SEED = 0x736B6574_63682D31
# Elements at a time: 32 KiB of words, 2 MiB of signs.
BLOCK = 1024


def words(first, count):
    """Outputs `first`, `first + 1`, ... of splitmix64 from SEED."""
    z = numpy.uint64(SEED) + (numpy.arange(first, first + count, dtype=numpy.uint64) + numpy.uint64(1)) * numpy.uint64(
        0x9E3779B9_7F4A7C15
    )
    z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D_1CE4E5B9)
    z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB_133111EB)
    return z ^ (z >> numpy.uint64(31))


def project(tensor):
    """The 256 projections of a tensor."""
    data = numpy.asarray(tensor, dtype=numpy.float64).reshape(-1)
    per_element = PROJECTIONS // 64
    shifts = numpy.arange(64, dtype=numpy.uint64)
    sums = numpy.zeros(PROJECTIONS)
    for start in range(0, data.size, BLOCK):
        block = data[start : start + BLOCK]
        own = words(start * per_element, block.size * per_element).reshape(block.size, per_element, 1)
        bits = ((own >> shifts) & numpy.uint64(1)).reshape(block.size, PROJECTIONS)
        sums += block @ (2.0 * bits - 1.0)
    return sums


def indexed(tensor):
    """A tensor of few different values as these and their places among them, bit by bit the same."""
    raw, places = numpy.unique(tensor.view(numpy.uint32), return_inverse=True)
    if raw.size > 1 << 16:
        return None
    places = places.reshape(tensor.shape).astype(numpy.uint8 if raw.size <= 1 << 8 else numpy.uint16)
    assert (raw[places] == tensor.view(numpy.uint32)).all()
    return raw.view(numpy.float32), places


def sketched(tensors):
    """The tensors of an expected.safetensors in their small form."""
    small = {}
    for name, tensor in sorted(tensors.items()):
        tensor = numpy.ascontiguousarray(tensor)
        few = indexed(tensor) if name.endswith("pixel_values") and tensor.dtype == numpy.float32 else None
        if few is not None:
            small[f"{name}.values"], small[f"{name}.index"] = few
        elif tensor.dtype != numpy.float32 or name == "logits_steps" or name.endswith("pixel_values"):
            small[name] = tensor
        else:
            small[f"{name}.sketch"] = project(tensor)
            small[f"{name}.shape"] = numpy.array(tensor.shape, dtype=numpy.int64)
    return small


class Expected:
    """The tensors of an expected.safetensors, in either form."""

    def __init__(self, path):
        self.tensors = load_file(path)

    def nmse(self, name, actual):
        """Normalised mean square error of `actual`, an estimate of it where there is a sketch only."""
        actual, tensors = numpy.asarray(actual, dtype=numpy.float64), self.tensors
        if f"{name}.sketch" in tensors:
            assert actual.size == tensors[f"{name}.shape"].prod(), f"{name}: {actual.shape}"
            actual, expected = project(actual), tensors[f"{name}.sketch"]
        elif name in tensors:
            expected = tensors[name].astype(numpy.float64)
        else:
            expected = tensors[f"{name}.values"].astype(numpy.float64)[tensors[f"{name}.index"]]
        return ((actual - expected.reshape(actual.shape)) ** 2).sum() / (expected**2).sum()


def fixture(whole, name, keep):
    """Copies a fixture, its results in their small form but for the cases `keep`."""
    source, target = whole / name, HERE / name
    shutil.rmtree(target, ignore_errors=True)
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        to = target / path.relative_to(source)
        to.parent.mkdir(parents=True, exist_ok=True)
        if path.name == EXPECTED and path.parent.name not in keep:
            save_file(sketched(load_file(path)), to)
        else:
            shutil.copyfile(path, to)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{name}: {size} bytes")


def example():
    """sketch.json: numbers that are eighths, so that every order of summation gives the same sums."""
    data = (numpy.arange(1500) ** 2 % 1009 - 500) / 8
    stored = {"seed": f"{SEED:#018x}", "data": data.tolist(), "sums": project(data).tolist()}
    (HERE / "sketch.json").write_text(json.dumps(stored, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("whole", nargs="?", type=pathlib.Path)
    parser.add_argument("name", nargs="?")
    parser.add_argument("--whole", nargs="*", default=[], dest="keep", metavar="CASE")
    arguments = parser.parse_args()
    if arguments.name:
        fixture(arguments.whole, arguments.name, arguments.keep)
    else:
        example()
