#!/usr/bin/env python3
"""Checks the documents: every relative link leads to a file (and heading) that exists, and no tracked file names a
path of somebody's machine. Ends with 1 and a list where something is wrong."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)|!\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(```|~~~)")
# Written in two pieces, so that this file does not name what it looks for.
MACHINE = re.compile(r"(?<![\w.$}~-])/(?:" + "|".join(["wo" + "rk", "ro" + "ot", "ho" + "me", "Us" + "ers"]) + r")/[\w.-]")


def tracked():
    names = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


def prose(text):
    """The lines outside of fenced and indented code, with their numbers."""
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if FENCE.match(line.lstrip()):
            fenced = not fenced
        elif not fenced and not line.startswith("    "):
            yield number, re.sub(r"`[^`]*`", "", line)


def anchors(text):
    """The anchors of a document's headings, as they are derived on the usual sites."""
    found = set()
    for line in text.splitlines():
        if match := re.match(r"#{1,6}\s+(.*)", line):
            heading = re.sub(r"[^\w\- ]", "", match.group(1).strip().lower())
            found.add(heading.replace(" ", "-"))
    return found


def main():
    wrong = []
    files = tracked()
    documents = [path for path in files if path.suffix == ".md"]
    links = 0
    for path in documents:
        text = path.read_text(encoding="utf-8")
        for number, line in prose(text):
            for match in LINK.finditer(line):
                target = match.group(1) or match.group(2)
                if re.match(r"[a-z]+:", target):
                    continue
                links += 1
                name, _, anchor = target.partition("#")
                there = (path.parent / name).resolve() if name else path
                where = f"{path.relative_to(ROOT)}:{number}"
                if not there.exists():
                    wrong.append(f"{where}: {target} leads nowhere")
                elif ROOT not in [there, *there.parents]:
                    wrong.append(f"{where}: {target} leads out of the repository")
                elif anchor and there.suffix == ".md" and anchor not in anchors(there.read_text(encoding="utf-8")):
                    wrong.append(f"{where}: {target} names no heading of that file")
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if match := MACHINE.search(line):
                wrong.append(f"{path.relative_to(ROOT)}:{number}: a path of a machine: {match.group(0)}...")
    for line in wrong:
        print(line)
    print(f"documents: {len(documents)} files, {links} links, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
