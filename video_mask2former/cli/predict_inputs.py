"""The inputs of the ``predict`` command: which videos the words on the command line mean, and what each is called."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from video_mask2former.remote_files import Store, is_address, is_stored
from video_mask2former.video_io.image_source import IMAGE_SUFFIXES, natural_order
from video_mask2former.video_io.reader import VIDEO_SUFFIXES


@dataclass(frozen=True)
class PredictInput:
    """One video to predict.

    Attributes:
        source: Path or glob of images, an address, or the index of a camera.
        name: What its folder of results is called; no two inputs share one.
    """

    source: str | int
    name: str


def find_inputs(words: Sequence[str]) -> list[PredictInput]:
    """The videos that the words of a command line stand for, each once.

    A word is a video file, an image, a folder of videos (each is an input), a folder of images (one video), a folder
    of such folders, a glob of videos or of images, an address, or the number of a camera. What does not exist
    is kept as it is, to be reported when its turn comes.
    """
    by_place: dict[str | int, str | int] = {}
    for word in words:
        for source in _expand(word):
            is_path = isinstance(source, str) and not is_address(source)
            by_place.setdefault(os.path.abspath(str(source)) if is_path else source, source)
    sources = list(by_place.values())
    return [PredictInput(source, name) for source, name in zip(sources, _unique_names(sources), strict=True)]


def _expand(word: str) -> list[str | int]:
    path = Path(word)
    if is_stored(word):
        return list(_expand_stored(word))
    if is_address(word):
        return [word]
    if path.is_dir():
        return _expand_folder(path)
    if not path.exists() and word.isdecimal():
        return [int(word)]
    if not path.exists() and glob.has_magic(word):
        videos = [Path(name) for name in glob.glob(word, recursive=True) if _is_video(Path(name))]
        if videos:
            return [str(video) for video in sorted(videos, key=natural_order)]
    return [word]


def _expand_folder(folder: Path, above: frozenset[str] = frozenset()) -> list[str | int]:
    above |= {os.path.realpath(folder)}  # links may lead in circles
    entries = sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=natural_order)
    videos: list[str | int] = [str(entry) for entry in entries if _is_video(entry)]
    if videos or any(entry.suffix.lower() in IMAGE_SUFFIXES for entry in entries):
        return videos or [str(folder)]
    inner = [entry for entry in entries if entry.is_dir() and os.path.realpath(entry) not in above]
    nested = [source for entry in inner for source in _expand_folder(entry, above)]
    return nested or [str(folder)]


def _expand_stored(address: str) -> list[str]:
    """As folders and globs on the disk; what is not there is kept, to be reported when its turn comes."""
    store = Store(address)
    if glob.has_magic(address):
        return [found for found in store.matches() if Path(found).suffix.lower() in VIDEO_SUFFIXES] or [address]
    if not store.is_folder():
        return [address]
    entries = [(name, is_folder) for name, is_folder in store.entries() if not name.startswith(".")]
    entries.sort(key=lambda entry: natural_order(Path(entry[0])))
    suffixes = {name: Path(name).suffix.lower() for name, is_folder in entries if not is_folder}
    videos = [store.path(name) for name, suffix in suffixes.items() if suffix in VIDEO_SUFFIXES]
    if videos or any(suffix in IMAGE_SUFFIXES for suffix in suffixes.values()):
        return videos or [store.address]
    nested = [found for name, is_folder in entries if is_folder for found in _expand_stored(store.path(name))]
    return nested or [store.address]


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()


def _unique_names(sources: Sequence[str | int]) -> list[str]:
    """A name for each source: its stem; where stems collide, as much more of the path as tells them apart."""
    names = [_name(source, 0) for source in sources]
    longest = max((len(_parts(source)) for source in sources), default=0)
    for level in range(1, longest + 1):
        count = Counter(name.casefold() for name in names)  # file systems may not tell A from a
        if max(count.values(), default=1) == 1:
            break
        names = [
            _name(source, level) if count[name.casefold()] > 1 else name
            for source, name in zip(sources, names, strict=True)
        ]
    taken: set[str] = set()
    for index, name in enumerate(names):
        candidate, number = name, 2
        while candidate.casefold() in taken:
            candidate, number = f"{name}_{number}", number + 1
        taken.add(candidate.casefold())
        names[index] = candidate
    return names


def _name(source: str | int, level: int) -> str:
    """The stem (level 0), the file name (level 1), or that with ``level - 1`` folders before it."""
    if isinstance(source, int):
        return f"camera_{source}"
    if is_address(source):
        source = source.partition("?")[0].rstrip("/")  # what follows may be a password
    if glob.has_magic(source) and not os.path.exists(source):
        source = os.path.dirname(source) or "frames"  # a glob of images is called like their folder
    path = Path(source)
    if level == 0:
        words = [path.stem if path.suffix.lower() in (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES) else path.name]
    else:
        words = [*_parts(source)[-level:-1], path.name.replace(".", "_")]
    return re.sub(r"[^\w.+-]+", "_", "_".join(words)).strip(".") or "video"


def _parts(source: str | int) -> tuple[str, ...]:
    path = Path() if isinstance(source, int) else Path(os.path.realpath(source))
    return tuple(part for part in path.parts if part != os.sep)
