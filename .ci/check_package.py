"""Builds the sdist and the wheel, looks into them, and uses them in an environment that has nothing of the project.

python .ci/check_package.py dist --torch torch==2.13.0
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "video_mask2former"
CLIP = ROOT / "tools" / "demo_clip" / "pedestrians.mp4"
LOOK_AROUND = """
import sys
from pathlib import Path
import video_mask2former
from video_mask2former.recipes.source import read_config, shipped_configs
assert Path(video_mask2former.__file__).is_relative_to(sys.prefix), video_mask2former.__file__
names = shipped_configs()
for name in names:
    read_config(name)
print(f"{len(names)} configurations; {video_mask2former.ops.extension_status()}")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the sdist and the wheel go; made anew")
    parser.add_argument("--torch", required=True, help="what pip is to install as torch")
    parser.add_argument("--index-url", help="where pip finds it")
    args = parser.parse_args()
    shutil.rmtree(args.folder, ignore_errors=True)
    run([sys.executable, "-m", "build", "--outdir", str(args.folder), str(ROOT)], ROOT, os.environ)
    (sdist,), (wheel,) = args.folder.resolve().glob("*.tar.gz"), args.folder.resolve().glob("*.whl")
    has_kernels = shutil.which("c++") is not None
    check_sdist(sdist)
    check_wheel(wheel, has_kernels)
    with tempfile.TemporaryDirectory() as folder:
        environment = EmptyEnvironment(Path(folder))
        environment.pip("install", *(["--index-url", args.index_url] if args.index_url else []), args.torch)
        environment.pip("install", str(wheel))
        environment.pip("check")
        environment.use(has_kernels, num_frames=8)
        told = environment.pip("install", "-v", "--no-deps", "--force-reinstall", str(sdist), path="")
        expect(told.count("notice: no C++ compiler") == 1, f"one notice that there is no compiler in:\n{told}")
        environment.use(False, num_frames=2)


def check_sdist(path: Path) -> None:
    """All that a build needs, and no tests."""
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"setup.py", "pyproject.toml", "README.md", "LICENSE", *tracked(PACKAGE), *tracked("configs")}
    expect(wanted <= names, f"{sorted(wanted - names)} in {path.name}")
    unwanted = {name for name in names if name.startswith(("tests", "tools", "datasets")) or name.endswith(".so")}
    expect(not unwanted, f"{path.name} without {sorted(unwanted)}")
    print(f"{path.name}: {len(names)} entries, {path.stat().st_size / 1e6:.1f} MB")


def check_wheel(path: Path, has_kernels: bool) -> None:
    """The package, its configurations, model, kernels and licence, and nothing else; the tag; the description."""
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        info = next(name.split("/")[0] for name in names if name.endswith(".dist-info/METADATA"))
        fields, _, description = archive.read(f"{info}/METADATA").decode().partition("\n\n")
    wanted = {name for name in tracked(PACKAGE) if "/csrc/" not in name}
    wanted |= {f"{PACKAGE}/{name}" for name in tracked("configs")}
    wanted |= {f"{PACKAGE}/ops/_kernels.so"} if has_kernels else set()
    differences = wanted ^ {name for name in names if not name.startswith(info)}
    expect(not differences, f"{path.name} to agree with the repository in {sorted(differences)}")
    expect(f"{info}/licenses/LICENSE" in names, f"the licence in {path.name}")
    tag = "-py3-none-linux_" if has_kernels else "-py3-none-any"
    expect(tag in path.name or sys.platform != "linux", f"{tag} in {path.name}")
    expect("Description-Content-Type: text/markdown" in fields, "a description in Markdown")
    expect(description == (ROOT / "README.md").read_text(encoding="utf-8"), "README.md as the description")
    print(f"{path.name}: {len(names)} files, {path.stat().st_size / 1e6:.1f} MB")


class EmptyEnvironment:
    """A new virtual environment, used from a folder outside of the repository."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "environment" / "bin"
        self.folder = folder / "elsewhere"
        self.folder.mkdir()
        run([sys.executable, "-m", "venv", str(self.bin.parent)], self.folder, os.environ)
        self.call("python", "-c", f"import importlib.util, sys; sys.exit(bool(importlib.util.find_spec('{PACKAGE}')))")

    def use(self, has_kernels: bool, num_frames: int) -> None:
        """What a person does first."""
        self.call("video-mask2former", "--help")
        seen = self.call("python", "-c", LOOK_AROUND)
        num_configs = sum(not name.startswith("configs/_base_") for name in tracked("configs"))
        expect(seen.startswith(f"{num_configs} configurations"), f"{num_configs} configurations, not: {seen}")
        expect(("compiled kernels: CPU" in seen) == has_kernels, f"{'' if has_kernels else 'no '}kernels, not: {seen}")
        print(f"installed: {seen}", end="")
        output = self.folder / f"{num_frames}_frames"
        self.call("video-mask2former", "predict", str(CLIP), "--end", str(num_frames), "--output", str(output))
        for name in ("overlay.mp4", "contact_sheet.png", "tracks.json", "results.json"):
            expect((output / CLIP.stem / name).is_file(), f"{name} of the demo clip")

    def pip(self, *words: str, path: str | None = None) -> str:
        """Run pip; what it printed. ``path`` is what PATH holds behind the environment's own programs."""
        return self.call("python", "-m", "pip", *words, path=path)

    def call(self, program: str, *words: str, path: str | None = None) -> str:
        """Run a program of the environment; what it printed."""
        variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "CXX")}
        variables["PATH"] = os.pathsep.join([str(self.bin), variables["PATH"] if path is None else path])
        return run([str(self.bin / program), *words], self.folder, variables)


def tracked(folder: str) -> set[str]:
    """The files of a folder of the repository that git knows."""
    listed = run(["git", "ls-files", folder], ROOT, os.environ)
    return set(listed.splitlines())


def run(command: list[str], folder: Path, variables: Mapping[str, str]) -> str:
    """Run a command; what it printed, which is shown if it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\nerror: {' '.join(command)} ended with {done.returncode}, its output is above")
    return done.stdout


def expect(condition: bool, what: str) -> None:
    """Stop the check unless something is as it should be."""
    if not condition:
        sys.exit(f"error: expected {what}")


if __name__ == "__main__":
    main()
