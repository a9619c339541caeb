"""What was tried against a training and its files, how often, and what was lost: a table.

python -m benchmarks.reliability [--kills 20] [--cases 3000] [--seed 0]
"""

import argparse
import sys

from benchmarks.reliability import kill, storage
from benchmarks.reliability.fuzz import fuzz, markdown
from benchmarks.reliability.fuzz_kinds import KINDS


def kill_row(result):
    worst = max(result["worst"].values())
    lost = "nothing" if worst < storage.TOLERANCE else f"differs by {worst:.1e}"
    return f"| kill -9 at a random moment, then --resume | {result['kills']} | {lost} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--damages", type=int, default=6, help="checkpoints to damage")
    parser.add_argument("--cases", type=int, default=3000, help="files of each kind")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    killed = kill.measure(arguments.kills, arguments.seed)
    stored = storage.measure(arguments.damages)
    tallies = {
        kind: fuzz(kind, range(round(arguments.cases * KINDS[kind].share)), arguments.seed)
        for kind in KINDS
    }
    print("| tried | times | lost |\n|---|--:|---|")
    print(kill_row(killed))
    for name, result in stored.items():
        print(f"| {name} | {result['tried']} | {result['lost'] or 'nothing'} |")
    cases = sum(sum(tally.outcomes.values()) for tally in tallies.values())
    failures = sum(tally.outcomes["failure"] for tally in tallies.values())
    print(f"| damaged and hostile files and argument lists | {cases} | {failures or 'nothing'} |")
    print("\nKilled " + ", ".join(killed["places"]) + f". Largest differences: {killed['worst']}.")
    for name, result in stored.items():
        print(f"\n{name}: {result['said']}")
    print("\n" + "\n".join(markdown(tallies)))
    lost = [result["lost"] for result in stored.values()]
    return int(any(lost) or failures > 0 or max(killed["worst"].values()) >= storage.TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
