"""Runs the comparison: installs, asks every peer in turn, and writes the report."""

import argparse
import json
import sys
import time

from harness import drive, install, machine, plan, render
from harness.paths import DOCUMENTS, RESULTS


def main():
    options = arguments()
    if options.render:
        return write(json.loads(RESULTS.read_text()))
    began = time.monotonic()
    sizes = plan.QUICK if options.quick else plan.FULL
    ready, missing = install.peers(options.peers, options.quick)
    results = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine.describe(),
        "sizes": sizes,
        "versions": machine.versions(ready, options.quick),
        "missing": missing,
        **drive.all_rounds(ready, sizes),
        "duration_s": round(time.monotonic() - began),
    }
    complaints = plan.complaints(results)
    # Whoever names a peer wants it asked.
    complaints += [f"{name} is missing" for name in missing if name in options.peers]
    for complaint in complaints:
        print(f"bench: {complaint}", file=sys.stderr)
    print(json.dumps(results, indent=1) if options.json else render.as_text(results))
    if not options.quick and not options.peers:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        write(results)
    if complaints and (options.quick or options.peers):
        sys.exit(1)


def arguments():
    parser = argparse.ArgumentParser(prog="script/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test of about a minute")
    parser.add_argument("--render", action="store_true", help="write the documents again")
    parser.add_argument("--json", action="store_true", help="print all that was measured")
    parser.add_argument("--peers", type=names, default=[], help="only these, for example ray,loky")
    return parser.parse_args()


def names(text):
    given = text.split(",")
    for name in given:
        if name not in plan.PEERS:
            raise argparse.ArgumentTypeError(f"{name}: the peers are {', '.join(plan.PEERS)}")
    return given


def write(results):
    render.documents(results)
    install.plots()
    print(f"bench: wrote {DOCUMENTS}", file=sys.stderr)


if __name__ == "__main__":
    main()
