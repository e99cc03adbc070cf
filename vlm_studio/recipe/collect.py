"""Gather what stage 0 draws with: open handwriting fonts and lines of prose.

``python -m vlm_studio.recipe.collect --out DIR --english PATH... --french PATH...``

Fonts are the packages `@fontsource/<name>` of the npm registry (OFL-1.1 or Apache-2.0; each package's own licence is
noted in `licences.txt`). Prose is any text or HTML file, or a folder of them: sentences are taken, markup is not.
"""

from __future__ import annotations

import argparse
import ast
import html
import json
import re
import subprocess
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FONTS = (
    "aguafina-script alex-brush allison allura amatic-sc amita annie-use-your-telescope architects-daughter arizonia "
    "babylonica bad-script ballet beau-rivage beth-ellen bilbo bilbo-swash-caps birthstone bonbon bonheur-royale borel butterfly-kids "
    "calligraffitti caramel carattere caveat caveat-brush cedarville-cursive charm charmonman chilanka clicker-script comforter "
    "coming-soon condiment cookie corinthia courgette covered-by-your-grace crafty-girls dancing-script darumadrop-one dawning-of-a-new-day "
    "dekko delicious-handrawn delius devonshire dokdo dr-sugiyama eagle-lake ephesis euphoria-script explora fasthand fondamento felipa "
    "fuggles fuzzy-bubbles gaegu gamja-flower give-you-glory gloria-hallelujah gochi-hand grape-nuts great-vibes grechen-fuemen "
    "grey-qo gwendolyn hachi-maru-pop handlee henny-penny herr-von-muellerhoff hi-melody homemade-apple hurricane imperial-script indie-flower "
    "ingrid-darling inspiration italianno itim jim-nightshade just-another-hand just-me-again-down-here kalam kapakana kavivanar kolker-brush "
    "kristi la-belle-aurore lavishly-yours league-script leckerli-one liu-jian-mao-cao long-cang loved-by-the-king "
    "love-light lovers-quarrel luxurious-script ma-shan-zheng mali mansalva marck-script mea-culpa meddon merienda miss-fajardose "
    "mogra molle monsieur-la-doulaise montez mr-bedfort mr-dafoe mr-de-haviland mrs-saint-delafield mynerve mali nanum-brush-script "
    "nanum-pen-script neucha niconne norican nothing-you-could-do ole oooh-baby over-the-rainbow pacifico pangolin parisienne patrick-hand "
    "pecita petemoss petit-formal-script pinyon-script playpen-sans playwrite-us-trad playwrite-fr-moderne playwrite-fr-trad playwrite-ca "
    "playwrite-gb-s playwrite-de-grund playwrite-it-moderna playwrite-es playwrite-nl playwrite-pl playwrite-au-sa playwrite-us-modern "
    "princess-sofia puppies-play qwigley qwitcher-grypen quintessential rancho redacted-script redressed reenie-beanie rochester rock-salt rouge-script "
    "ruge-boogie ruthie sacramento satisfy schoolbell sedgwick-ave sedgwick-ave-display send-flowers sevillana shadows-into-light "
    "shadows-into-light-two shalimar short-stack single-day smooch solitreo sofia sriracha square-peg stalemate sue-ellen-francisco sunshiney "
    "sassy-frass story-script swanky-and-moo-moo tangerine the-girl-next-door the-nautigal tillana tourney vibes vibur vujahday-script "
    "waiting-for-the-sunrise walter-turncoat waterfall water-brush whisper windsong yellowtail yesteryear yomogi zeyada zhi-mang-xing"
).split()
SMALLEST = 15
LONGEST = 400


def fetch_font(name: str, folder: Path) -> str | None:
    """Save `name`'s Latin regular and bold faces as woff under `folder`; its licence, or None where there is no such package."""
    with tempfile.TemporaryDirectory() as work:
        done = subprocess.run(
            ["npm", "pack", f"@fontsource/{name}"], cwd=work, capture_output=True, check=False
        )
        packed = next(Path(work).glob("*.tgz"), None)
        if done.returncode or packed is None:
            return None
        with tarfile.open(packed) as archive:
            licence = "unknown"
            for member in archive.getmembers():
                source = archive.extractfile(member)
                if source is None:
                    continue
                if member.name == "package/package.json":
                    licence = str(json.loads(source.read()).get("license", "unknown"))
                elif re.search(r"/files/[\w-]+-latin-(400|700)-normal\.woff$", member.name):
                    weight = re.search(r"-(400|700)-normal", member.name)[1]  # type: ignore[index]
                    (folder / f"{name}-{weight}.woff").write_bytes(source.read())
        return licence


def sentences(text: str) -> Iterator[str]:
    """Plain sentences of `text`, HTML or not, 15 to 400 characters, with line breaks closed up."""
    if "<html" in text[:2000].lower() or "<!doctype html" in text[:2000].lower():
        text = re.sub(r"(?is)<(script|style|pre|code)\b.*?</\1>", " ", text)
        text = html.unescape(
            re.sub(r"<[^>]+>", " ", re.sub(r"(?i)</?(p|li|td|h\d|div|br)\b[^>]*>", "\n\n", text))
        )
    for paragraph in re.split(r"\n\s*\n|\n%\n", text):
        joined = re.sub(r"\s+", " ", paragraph).strip()
        for sentence in re.split(r"(?<=[.!?»])\s+(?=[A-ZÀ-Ý«\"'])", joined):
            if SMALLEST <= len(sentence) <= LONGEST and sum(
                c.isalpha() or c == " " for c in sentence
            ) > 0.85 * len(sentence):
                yield sentence


def read_prose(paths: Iterable[Path]) -> list[str]:
    """Every different sentence of the files and folders of `paths`, in the order found."""
    found: dict[str, None] = {}
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and file.suffix in ("", ".txt", ".html", ".md", ".rst"):
                found |= dict.fromkeys(sentences(file.read_text("utf-8", "ignore")))
    return list(found)


def docstrings() -> list[str]:
    """English sentences of the standard library's own documentation strings."""
    found: dict[str, None] = {}
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8", "ignore"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                found |= dict.fromkeys(sentences(ast.get_docstring(node) or ""))
    return list(found)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; what is already there is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--english", type=Path, nargs="*", default=[])
    parser.add_argument("--french", type=Path, nargs="*", default=[])
    parser.add_argument("--words-en", type=Path, default=Path("/usr/share/dict/american-english"))
    parser.add_argument("--words-fr", type=Path, default=Path("/usr/share/dict/french"))
    args = parser.parse_args(argv)
    fonts, texts = args.out / "fonts", args.out / "texts"
    fonts.mkdir(parents=True, exist_ok=True)
    texts.mkdir(parents=True, exist_ok=True)
    for name, lines in (("en", read_prose(args.english) + docstrings()), ("fr", read_prose(args.french))):
        (texts / f"{name}.txt").write_text("\n".join(lines), "utf-8")
        print(name, len(lines), "sentences")
    for name, file in (("en", args.words_en), ("fr", args.words_fr)):
        if file.exists():
            words = [word for word in file.read_text("utf-8").splitlines() if not word.endswith("'s")]
            (texts / f"{name}.words").write_text("\n".join(words), "utf-8")
    wanted = [name for name in dict.fromkeys(FONTS) if not list(fonts.glob(f"{name}-*.woff"))]
    with ThreadPoolExecutor(6) as pool:
        licences = dict(zip(wanted, pool.map(lambda name: fetch_font(name, fonts), wanted), strict=True))
    with (fonts / "licences.txt").open("a", encoding="utf-8") as file:
        file.writelines(f"{name}\t{licence}\n" for name, licence in licences.items() if licence)
    print(
        len(list(fonts.glob("*.woff"))),
        "faces;",
        "not found:",
        " ".join(n for n, found in licences.items() if not found),
    )


if __name__ == "__main__":
    main()
