"""Words that lie unseen on a page image, so that a PDF can be searched and copied from.

The fonts of every PDF viewer know Latin letters only, so words are set in a font of our own that has one empty
shape for every character (as OCR programs do), and a table says which character each code stands for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

_UNITS = 1000
_ADVANCE = 500
"""Width of every character, in thousandths of the font size."""
_ASCENT, _DESCENT = 800, -200
"""Together one font size, so that a word is as high as its box."""

PlacedWord = tuple[float, float, float, float, str]
"""Left, top, right, bottom in points from the page's top left corner, and the text."""


def codes_of(texts: Iterable[str]) -> dict[str, int]:
    """A code, from 1 on, for every character that occurs; the space, which parts words, always has one."""
    found = dict.fromkeys(" ")
    for text in texts:
        found.update(dict.fromkeys(_storable(text)))
    return {character: code for code, character in enumerate(found, start=1)}


def content(words: Sequence[PlacedWord], page_height: float, codes: dict[str, int], font: str) -> bytes:
    """PDF content stream that writes the words, unseen, over their boxes. `font`: its resource name."""
    rows = []
    for left, top, right, bottom, text in words:
        letters = _storable(text)
        size = bottom - top
        if not letters or size <= 0 or right <= left:
            continue
        stretch = (right - left) / (len(letters) * size * _ADVANCE / _UNITS)
        base = page_height - bottom - size * _DESCENT / _UNITS
        shown = "".join(f"{codes[c]:04x}" for c in (*letters, " "))
        rows.append(f"/{font} {size:.3f} Tf {stretch:.5f} 0 0 1 {left:.3f} {base:.3f} Tm <{shown}> Tj")
    return ("BT 3 Tr\n" + "\n".join(rows) + "\nET\n").encode() if rows else b""


def to_unicode(codes: dict[str, int]) -> bytes:
    """The CMap that says which character each code stands for."""
    entries = [f"<{code:04x}> <{c.encode('utf-16-be').hex()}>" for c, code in codes.items()]
    blocks = []
    for start in range(0, len(entries), 100):
        block = entries[start : start + 100]
        blocks.append(f"{len(block)} beginbfchar\n" + "\n".join(block) + "\nendbfchar")
    return (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap\n"
        "/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def\n"
        "/CMapName /Adobe-Identity-UCS def /CMapType 2 def\n"
        "1 begincodespacerange <0000> <ffff> endcodespacerange\n" + "\n".join(blocks) + "\n"
        "endcmap CMapName currentdict /CMap defineresource pop end end\n"
    ).encode()


def glyph_map(codes: dict[str, int]) -> bytes:
    """CIDToGIDMap: every code is drawn with the empty shape, glyph 1."""
    return b"\0\1" * (max(codes.values()) + 1)


def font_objects(
    font_file: int, cmap: int, glyphs: int, descriptor: int, descendant: int
) -> tuple[str, str, str]:
    """PDF source of descriptor, descendant font and font, given the object numbers they refer to."""
    return (
        "<< /Type /FontDescriptor /FontName /Unseen /Flags 5 /ItalicAngle 0 /StemV 80 "
        f"/FontBBox [0 {_DESCENT} {_ADVANCE} {_ASCENT}] /Ascent {_ASCENT} /Descent {_DESCENT} "
        f"/CapHeight {_ASCENT} /FontFile2 {font_file} 0 R >>",
        "<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Unseen /DW "
        f"{_ADVANCE} /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> "
        f"/FontDescriptor {descriptor} 0 R /CIDToGIDMap {glyphs} 0 R >>",
        "<< /Type /Font /Subtype /Type0 /BaseFont /Unseen /Encoding /Identity-H "
        f"/DescendantFonts [{descendant} 0 R] /ToUnicode {cmap} 0 R >>",
    )


def empty_font() -> bytes:
    """A TrueType font of two empty glyphs: the tables that a font inside a PDF must have."""
    tables = {
        b"glyf": b"\0\0\0\0",
        b"head": struct.pack(
            ">IIIIHHQQ4h2H3h", 0x10000, 0x10000, 0, 0x5F0F3CF5, 0, _UNITS, 0, 0,
            0, _DESCENT, _ADVANCE, _ASCENT, 0, 8, 2, 0, 0,
        ),
        b"hhea": struct.pack(
            ">I3hH3h8hH", 0x10000, _ASCENT, _DESCENT, 0, _ADVANCE, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2
        ),
        b"hmtx": struct.pack(">HhHh", _ADVANCE, 0, _ADVANCE, 0),
        b"loca": struct.pack(">3H", 0, 0, 0),
        b"maxp": struct.pack(">I14H", 0x10000, 2, *[0] * 4, 1, *[0] * 8),
    }  # fmt: skip
    head = struct.pack(">I4H", 0x10000, len(tables), 64, 2, 16 * len(tables) - 64)
    records, body, start = b"", b"", len(head) + 16 * len(tables)
    for tag, data in tables.items():
        padded = data + b"\0" * (-len(data) % 4)
        check = sum(struct.unpack(f">{len(padded) // 4}I", padded)) & 0xFFFFFFFF
        records += tag + struct.pack(">3I", check, start + len(body), len(data))
        body += padded
    return head + records + body


def _storable(text: str) -> str:
    """What can be searched for: no control characters, no halves of surrogate pairs, white space as spaces."""
    spaced = " ".join(text.split())
    return "".join(c for c in spaced if c.isprintable() or c in "\u00ad\u200c\u200d\ufe0f")
