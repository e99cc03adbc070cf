"""Make assets/words/words.tsv.gz from the word frequencies of the package `wordfreq` 3.1.1 (data: CC BY-SA 4.0).

``python -m vlm_studio.recipe.word_list --data .../wordfreq/data --out assets/words/words.tsv.gz`` (needs `msgpack`).
One line a word: the word, and its frequency in English and in French in centibels (-100 log10), empty where it is rarer
than `RAREST`.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
from pathlib import Path

RAREST = 670


def frequencies(file: Path) -> dict[str, int]:
    """Word -> centibels of one of wordfreq's files: a list of bins, the first a header, bin k the words at k centibels."""
    bins = importlib.import_module("msgpack").unpackb(gzip.decompress(file.read_bytes()), raw=False)
    return {
        word: level for level, words in enumerate(bins) if level <= RAREST for word in words if word.isalpha()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    english, french = (frequencies(args.data / f"large_{k}.msgpack.gz") for k in ("en", "fr"))
    rows = [f"{word}\t{english.get(word, '')}\t{french.get(word, '')}\n" for word in sorted(english | french)]
    args.out.write_bytes(gzip.compress("".join(rows).encode(), 9, mtime=0))
    print(len(rows), "words,", args.out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
