"""Tries damaged files on what reads them, in a process of its own: a result or one clear error, and soon.

``python tests/corpus/campaign.py --inputs 2000 --seed 7`` tries so many of each format and says what went wrong.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SECONDS = 10.0  # of the processor: other programs may be busy
STUCK_SECONDS = 60.0  # of the clock, for what waits and does nothing
MEBIBYTES = 1024
MAX_MESSAGE = 4000


@dataclass(frozen=True)
class Outcome:
    """What became of one input: ``result``, ``error`` (a clear one), or ``wrong`` with the reason."""

    format: str
    index: int
    kind: str
    detail: str
    seconds: float = 0.0
    mebibytes: float = 0.0


class _TooSlow(BaseException):
    pass


def run_formats(counts: Mapping[str, int], seed: int, first: int = 0) -> list[Outcome]:
    """Try so many inputs of each format, in one process; where it dies or hangs, another one goes on."""
    remaining = [(name, index) for name, count in counts.items() for index in range(first, first + count)]
    outcomes: list[Outcome] = []
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "PYTHONHASHSEED": "0"}
    while remaining:
        command = [sys.executable, "-X", "faulthandler", __file__, "--child", str(seed)]
        with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as work:
            work.write(json.dumps(remaining).encode())
            work.seek(0)
            child = subprocess.Popen(command, stdin=work, stdout=subprocess.PIPE, stderr=errors, env=environment)
            with child:
                found = _watch(child)
                child.kill()
            outcomes += found
            remaining = remaining[len(found) :]
            if remaining:
                errors.seek(0)
                text = errors.read()[-1500:].decode(errors="replace")
                name, index = remaining.pop(0)
                outcomes.append(Outcome(name, index, "wrong", f"the process ended ({child.returncode}): {text}"))
                if not found:  # it does not even begin
                    break
    return outcomes


def _watch(child: subprocess.Popen[bytes]) -> list[Outcome]:
    assert child.stdout is not None
    outcomes = []
    while True:
        ready, _, _ = select.select([child.stdout], [], [], 2 * STUCK_SECONDS)
        line = child.stdout.readline() if ready else b""
        if not line:
            return outcomes
        if line.startswith(b"{"):
            outcomes.append(Outcome(**json.loads(line)))


def describe_error(error: BaseException) -> str:
    from video_mask2former.cli import describe_error as describe  # not in the parent

    return describe(error)


def _child(seed: int) -> None:
    import formats  # of this folder; the parent does without what it imports

    work = json.loads(sys.stdin.read())
    reports = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    signal.signal(signal.SIGALRM, _stop)
    signal.signal(signal.SIGPROF, _stop)
    warnings.simplefilter("ignore")
    _limit_memory()
    for name, inputs in itertools.groupby(work, key=lambda pair: pair[0]):
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            case = formats.FORMATS[name](Path(folder))
            for _, index in inputs:
                reports.write(json.dumps(asdict(_try(name, index, seed, case))) + "\n")
                reports.flush()
            os.chdir("/")


def _try(name: str, index: int, seed: int, case: Any) -> Outcome:
    rng = random.Random(f"{seed} {name} {index}")
    try:
        prepared = case.prepare(rng, index)
    except OSError as error:
        return Outcome(name, index, "error", f"not prepared: {error}")
    _reset_peak()
    before, began = _resident(), time.process_time()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, STUCK_SECONDS)
    try:
        case.read(prepared)
        kind, detail = "result", ""
    except (OSError, ValueError, KeyError, ImportError) as error:
        text = describe_error(error)
        kind, detail = "error", text[:300]
        if not text or len(text) > MAX_MESSAGE or text.count("\n") > 20:
            kind, detail = "wrong", f"a message of {len(text)} characters: {text[:300]}"
        elif isinstance(error, (UnicodeError, ImportError)) or type(error) is KeyError:
            kind, detail = _judge(error, text)
    except _TooSlow:
        kind, detail = "wrong", f"more than {SECONDS} s"
    except BaseException as error:
        kind, detail = "wrong", _describe(error)
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    seconds, mebibytes = time.process_time() - began, (_peak() - before) / 2**20
    if mebibytes > MEBIBYTES and kind != "wrong":
        kind, detail = "wrong", f"{mebibytes:.0f} MiB: {detail}"
    left = case.leftovers()
    if left and kind == "error":
        kind, detail = "wrong", f"left behind {left[:3]}: {detail}"
    return Outcome(name, index, kind, detail, round(seconds, 3), round(mebibytes, 1))


def _judge(error: BaseException, text: str) -> tuple[str, str]:
    """Errors of Python itself are no clear ones: a bare key, a codec."""
    if isinstance(error, UnicodeError) or (isinstance(error, KeyError) and " " not in text):
        return "wrong", _describe(error)
    return "error", text[:300]


def _describe(error: BaseException) -> str:
    trace = error.__traceback__
    places = []
    while trace is not None:
        path = Path(trace.tb_frame.f_code.co_filename)
        places.append(f"{path.parent.name}/{path.name}:{trace.tb_lineno}")
        trace = trace.tb_next
    try:
        text = str(error)[:300]
    except Exception:
        text = "?"
    return f"{type(error).__name__}: {text} at {' < '.join(places[::-1][:6])}"


def _stop(number: int, frame: Any) -> None:
    raise _TooSlow


def _limit_memory() -> None:
    """A net below the limit that is measured: nothing takes the machine down."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 6 * 2**30,) * 2)


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    return next(int(line.split()[1]) * 1024 for line in Path("/proc/self/status").open() if line.startswith("VmHWM"))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--inputs", type=int, default=100, help="of each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("formats", nargs="*")
    args = parser.parse_args()
    names = args.formats or json.loads(subprocess.check_output([sys.executable, __file__, "--list"]))
    failed = 0
    for name in names:
        outcomes = run_formats({name: args.inputs}, args.seed, args.first)
        counts = Counter(outcome.kind for outcome in outcomes)
        slowest, largest = max(o.seconds for o in outcomes), max(o.mebibytes for o in outcomes)
        print(f"{name}: {dict(counts)}, slowest {slowest:.1f} s, most memory {largest:.0f} MiB", flush=True)
        wrong = [outcome for outcome in outcomes if outcome.kind == "wrong"]
        failed += len(wrong)
        for detail, _ in Counter(outcome.detail for outcome in wrong).most_common(12):
            index = next(outcome.index for outcome in wrong if outcome.detail == detail)
            print(f"    {index}: {detail[:500]}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    if "--child" in sys.argv:
        _child(int(sys.argv[2]))
    elif "--list" in sys.argv:
        import formats

        print(json.dumps(list(formats.FORMATS)))
    else:
        sys.exit(main())
