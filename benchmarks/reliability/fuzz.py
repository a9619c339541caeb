"""Thousands of damaged and hostile files and argument lists against all that reads them.

    python -m benchmarks.reliability.fuzz --count 5000 --seed 0
    python -m benchmarks.reliability.fuzz --kind png --case 1234

Each case must be accepted, or refused by one sentence that names the file. Anything else is a
failure: another exception, a crash, more than SECONDS or MEMORY, a process started, a file
written elsewhere. The first cases of a kind are the hand-made ones of fuzz_hostile*.py, the others
are damaged by fuzz_mutations.py; a case depends on kind, seed and number alone. They run in a
child process, which is started again behind a case that ends it.
"""

import argparse
import contextlib
import io
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

SECONDS = 20
MEMORY = 4 * 2**30  # bytes that a case may add to what the process holds
ADDRESSES = 8 * 2**30  # and to its address space, where Linux stops it
STATUS, PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")
PROCESSES = {"os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen"}


@dataclass
class Tally:
    """What became of the cases of a kind.

    Attributes:
        outcomes: "accepted", "refused" or "failure" -> number of cases.
        failures: list of (case, what happened).
        seconds, memory: the most that a case took, in seconds and bytes.
    """

    outcomes: Counter = field(default_factory=Counter)
    failures: list = field(default_factory=list)
    seconds: float = 0.0
    memory: int = 0

    def add(self, case, outcome, text, seconds, memory):
        if outcome != "failure" and seconds > SECONDS:
            outcome, text = "failure", f"took {seconds:.0f} s"
        if outcome != "failure" and memory > MEMORY:
            outcome, text = "failure", f"took {memory / 2**30:.1f} GiB"
        self.outcomes[outcome] += 1
        self.seconds, self.memory = max(self.seconds, seconds), max(self.memory, memory)
        if outcome == "failure":
            self.failures.append((case, text))


def fuzz(kind, cases, seed):
    """Run cases of a kind in child processes.

    Args:
        kind: a key of fuzz_kinds.KINDS, or "arguments".
        cases: their numbers, ascending.
        seed: of all of them.

    Returns: Tally.
    """
    context = multiprocessing.get_context("spawn")
    tally, left = Tally(), list(cases)
    while left:
        ours, theirs = context.Pipe()
        child = context.Process(target=serve, args=(kind, left, seed, theirs), daemon=True)
        child.start()
        theirs.close()
        case, wait = None, 600  # the imports
        try:
            while left and ours.poll(wait):
                answer = ours.recv()
                if len(answer) == 1:
                    (case,), wait = answer, 2 * SECONDS
                else:
                    tally.add(*answer)
                    left.remove(case)
                    show_progress(kind, len(cases) - len(left), len(cases))
                    case = None
        except EOFError:
            child.join()
        if left:
            hangs = child.is_alive()
            child.kill()
            child.join()
            if case is None:
                raise RuntimeError(f"{kind}: the child ended between cases ({child.exitcode}).")
            how = "hangs" if hangs else signal_name(child.exitcode)
            tally.add(case, "failure", how, 2.0 * SECONDS if hangs else 0.0, 0)
            left.remove(case)
        child.join()
    return tally


def signal_name(code):
    return f"ends the process by {signal.Signals(-code).name if code < 0 else f'exit({code})'}"


def show_progress(kind, done, count):
    if done % 500 == 0 or done == count:
        print(f"{kind}: {done} of {count}", file=sys.stderr, flush=True)


def serve(kind, cases, seed, answers):
    """The child: run cases and answer (case,) before and (case, outcome, ...) after each."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    from benchmarks.reliability import fuzz_kinds

    prepared = fuzz_kinds.prepare(kind)
    address_space = status("VmSize") + ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        violations = watch(folder)
        for case in cases:
            answers.send((case,))
            prepared.write(np.random.default_rng([seed, case]), case, Path(folder))
            PEAK.write_text("5", encoding="utf-8")  # VmHWM begins anew
            held, start = status("VmRSS"), time.perf_counter()
            violations.clear()  # of the lines above
            outcome, text = judge(prepared.run)
            seconds, memory = time.perf_counter() - start, status("VmHWM") - held
            if violations:
                outcome, text = "failure", violations[0]
            answers.send((case, outcome, text, seconds, memory))
    answers.close()


def status(key):
    """A number of bytes of this process, as Linux tells it."""
    (line,) = [
        x for x in STATUS.read_text(encoding="utf-8").splitlines() if x.startswith(key + ":")
    ]
    return 1024 * int(line.split()[1])


def watch(folder):
    """A list that what no case may do is added to: processes, and files written elsewhere."""
    from benchmarks.reliability.fuzz_arguments import written_elsewhere

    violations = []

    def hook(event, arguments):
        # benchmark runs each model in a process of its own
        own = event == "subprocess.Popen" and "runtimes.py" in str(arguments[1])
        if event in PROCESSES and not own:
            violations.append(f"starts a process: {event} {arguments}"[:200])
        elif path := written_elsewhere(event, arguments, folder):
            violations.append(f"writes elsewhere: {event} {path}")

    sys.addaudithook(hook)
    return violations


def judge(run):
    """(outcome, what was said) of a case; `run` returns None, or raises as a reader does."""
    from transfuse_keras.errors import InputError

    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            where = run()
        except (InputError, OSError) as error:
            text = str(error)
            if "\n" in text.strip() or not text:
                return "failure", f"not one sentence: {text!r}"[:400]
            return "refused", text
        except BaseException as error:  # an exit too is no answer of a reader
            return "failure", f"{type(error).__name__}: {error}"[:400]
    if said.getvalue():
        return "failure", f"{where}: says {said.getvalue()!r}"[:400]
    return "accepted", ""


def markdown(tallies):
    """Lines of a table of kind -> Tally."""
    lines = [
        "| kind | cases | accepted | refused | failures | slowest, s | most memory, MiB |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for kind, tally in tallies.items():
        counts = [tally.outcomes[x] for x in ("accepted", "refused", "failure")]
        cells = (kind, sum(counts), *counts, f"{tally.seconds:.1f}", round(tally.memory / 2**20))
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def main():
    from benchmarks.reliability.fuzz_kinds import KINDS

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--count", type=int, default=5000, help="cases of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--case", type=int, nargs="+", help="only these, and tell what they say")
    arguments = parser.parse_args()
    tallies = {}
    for kind in arguments.kind:
        cases = arguments.case or range(round(arguments.count * KINDS[kind].share))
        tallies[kind] = fuzz(kind, cases, arguments.seed)
        for case, text in tallies[kind].failures:
            print(f"--kind {kind} --case {case}: {text}")
    print("\n".join(markdown(tallies)))
    return 1 if any(tally.failures for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
