"""Measure the bytes that each script needs for the same sentences; the figures stand in `languages.toml`.

    python benchmarks/scripts.py [--parallel DIR] [--json]

The figure of a script is the median, over the languages written in it, of the UTF-8 bytes of the parallel sentences,
divided by the same median for Latin script.
"""

import argparse
import json
from pathlib import Path
from statistics import median

from openeurollm.languages import languages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parallel", type=Path, default=Path(__file__).resolve().parent.parent / "sample" / "parallel")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sizes: dict[str, list[int]] = {}
    for tag, language in languages().items():
        path = options.parallel / f"{tag}.txt"
        if path.is_file():
            sizes.setdefault(language.scripts[0], []).append(len(path.read_bytes()))
    latin = median(sizes["Latn"])
    found = {script: round(median(several) / latin, 2) for script, several in sizes.items()}
    if options.json:
        print(json.dumps({"ours": found, "peers": {}, "ratio": None}))
    else:
        for script, figure in found.items():
            print(f"{script}: {figure} ({len(sizes[script])} languages)")


if __name__ == "__main__":
    main()
