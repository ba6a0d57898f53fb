"""`python -m benchmarks NAME [--quick] [--out FOLDER]`: a table, and JSON beside it."""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
import time
from pathlib import Path

from benchmarks._report import finish, load_average

# Those that time come first, on a machine that is still at rest.
NAMES = {
    "speed": "fits in one process, beside a torch port of the paper's procedure",
    "cold": "`bimmjax fit` as a whole process, with and without compiled code kept",
    "stream": "a 512 cubed OME-Zarr volume from disk to fit.json: seconds and memory",
    "nets_speed": "Modular U-Net: inference and training steps, beside torch and torch.compile",
    "fib_register": "registration of slices: known drifts, a real stack, beside scikit-image",
    "waves": "levelled waves beside NumPy and theory; 1024 cubed voxels streamed to disk",
    "montecarlo": "electrons through voxels: bulks against formulas, books, electrons per second",
    "artificial": "the paper's artificial series and its figures 6 to 10; three phases",
    "shine_through": "images of shine-through beside Monte Carlo (an hour) and Article III",
    "descriptors": "two-point correlation and lineal path, beside PoreSpy",
    "segmenting": "`bimmjax segment` from disk to disk: voxels per second and memory",
    "predicting": "`bimmjax predict`: no seams on real volumes; 1024 cubed, speed and memory",
    "segmentation": "three phases labelled by every method; energies beside graph cuts",
    "berea": "a real mask blurred and noised: fits and labels against it and each other",
    "draws": "the paper's section 5.2: batch and Monte Carlo draws against quadrature",
    "likelihoods": "the order of GMM, PVMM and BIMM-1D, as in the paper's figure 14",
    "maps": "local fits per second beside the torch port",
    "maps_growth": "how time and memory of a map grow with the volume",
    "maps_truth": "maps against the truth of every block, and their reported errors",
    "maps_same": "the same maps on many devices and processes, and after 20 kills",
    "areas": "areas, fractions and blur of bodies with a sharp truth, model by model",
    "verdict": "errors announced, intervals and refusals on random bodies",
    "nets_parity": "full networks in float32 and float64 against torch, values and gradients",
    "nets_tiles": "tiles against the whole, for every network that is local",
    "nets_composite": "Modular U-Nets on a composite: rivals, learning curve, ablation, a crack",
    "nets_particles": "U-Net, UNet++, PSPNet, DeepLab v3+ on particles of three phases",
    "nets_spheres": "a 3D U-Net from a tenth of packed spheres, and on unlike materials",
    "nets_fib": "networks from simulated FIB-SEM alone, on Monte Carlo images (half an hour)",
    "fib_thickness": "slices' thickness from images alone and rulers; curtains, brightness",
    "fib_reconstruct": "raw stacks at three voltages to labels in cubes, end to end (an hour)",
    "fib_fill": "gaps between FIB slices filled: Article II's tables (a quarter of an hour)",
    "fib_adapt": "CycleGAN to another instrument's images; a learned BSE simulator (half an hour)",
    "coverage": "how often the 95 % intervals hold the truth",
    "install": "the wheel in empty environments, oldest and newest versions; needs the network",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one benchmark, or all of them."""
    listed = "\n".join(f"  {name:14} {what}" for name, what in NAMES.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=f"names:\n{listed}\n\nexample: python -m benchmarks artificial --quick",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", default="all", choices=[*NAMES, "all"])
    parser.add_argument("--quick", action="store_true", help="smaller volumes, fewer repetitions")
    parser.add_argument(
        "--python",
        action="append",
        metavar="PATH",
        help="install: a Python to try; may be repeated (else those on the path)",
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    asked = parser.parse_args(arguments)
    asked.out.mkdir(parents=True, exist_ok=True)
    words = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "-m", "benchmarks", *words])
    load = load_average()
    for name in NAMES if asked.name == "all" else [asked.name]:
        before = time.perf_counter()
        more = {"pythons": asked.python} if name == "install" else {}
        run = importlib.import_module(f"benchmarks.{name}").run
        result = run(asked.quick, asked.out, **more)
        seconds = time.perf_counter() - before
        told = finish(
            name,
            result,
            asked.out,
            command=command,
            quick=asked.quick,
            seconds=seconds,
            load=load,
        )
        print(told, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
