"""Ways to spoil good input. What is spoilt by its own rules gets further into a parser than flipped bits do.

Every function takes good bytes and dice, and is decided by the two: the same dice spoil in the same way.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

Spoil = Callable[[bytes, random.Random], bytes]

NUMBERS = (b"-1", b"0", b"1e400", b"99999999999999999999", b"null", b"0.5", b"65536", b"2147483648", b"1e-40")
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**63, 1e308, -0.5, "", "\x00", "\ud800", "x" * 5000, "../../etc/passwd", [], {},
    [[[[[[]]]]]], [None], {"": None}, "NaN", "١٢٣",
)  # fmt: skip
_PDF_REFERENCE = re.compile(rb"\d+ 0 R")
_PDF_NUMBER = re.compile(rb"-?\d+\.?\d*")
_PDF_NAME = re.compile(rb"/[A-Za-z][A-Za-z0-9]*")
_PDF_OBJECT = re.compile(rb"\d+ 0 obj.*?endobj\s*", re.S)
_PNG = b"\x89PNG\r\n\x1a\n"


def spoilt(seed: bytes, dice: random.Random) -> bytes:
    """`seed` after one to six accidents: flipped, cut, doubled, swapped, filled, or with numbers made extreme."""
    data = bytearray(seed)
    for _ in range(dice.randint(1, 6)):
        if not data:
            data = bytearray(dice.randbytes(dice.randint(1, 64)))
        at, length = dice.randrange(len(data) or 1), dice.randint(1, 32)
        match dice.randrange(9):
            case 0:
                data[at : at + 1] = bytes([dice.randrange(256)])
            case 1:
                del data[at:]
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = data[at : at + length] * dice.randint(1, 40)
            case 4:
                data[at : at + length] = bytes(length)
            case 5:
                number = dice.choice((0, 1, 2**31, 2**32 - 1))
                data[at : at + 4] = struct.pack(dice.choice("<>") + "I", number)
            case 6:
                data[at:at] = dice.randbytes(length)
            case 7:
                digits = [i for i, byte in enumerate(data) if 48 <= byte <= 57]
                if digits:
                    place = dice.choice(digits)
                    data[place : place + 1] = dice.choice(NUMBERS)
            case _:
                other = dice.randrange(len(data))
                data[at], data[other] = data[other], data[at]
    return bytes(data)


def spoilt_json(seed: bytes, dice: random.Random) -> bytes:
    """One to three values of a JSON text, or of one line of JSON lines, are others, gone or one too many."""
    lines = seed.splitlines() or [b""]
    place = dice.randrange(len(lines)) if seed[:1] == b"{" and _json(lines[0]) is not None else None
    value = _json(seed if place is None else lines[place])
    if value is None or dice.random() < 0.3:
        return spoilt(seed, dice)
    for _ in range(dice.randint(1, 3)):
        value = _changed(value, dice)
    written = json.dumps(value).encode()
    if place is None:
        return written
    return b"\n".join((*lines[:place], written, *lines[place + 1 :])) + b"\n"


def spoilt_pdf(seed: bytes, dice: random.Random) -> bytes:
    """Names, numbers, references and objects exchanged; sometimes plain accidents instead or after that."""
    data = seed
    for _ in range(dice.randint(1, 5)):
        match dice.randrange(8):
            case 0:
                data = _swapped(data, _PDF_REFERENCE, dice)
            case 1:
                data = _swapped(data, _PDF_NAME, dice)
            case 2:
                data = _replaced(data, _PDF_NUMBER, dice.choice(NUMBERS), dice)
            case 3:
                data = _swapped(data, _PDF_OBJECT, dice)
            case 4:
                data = _replaced(data, _PDF_OBJECT, b"", dice)
            case 5:
                data = _replaced(data, _PDF_REFERENCE, b"[" * 400 + b"]" * 400, dice)
            case 6:
                data = _replaced(data, _PDF_NAME, b"", dice)
            case _:
                data = _replaced(data, _PDF_REFERENCE, b"%d 0 R" % dice.randint(0, 30), dice)
    return spoilt(data, dice) if dice.random() < 0.4 else data


def spoilt_image(seed: bytes, dice: random.Random) -> bytes:
    """Mostly the beginning, where the sizes and tables stand; the checksums of a PNG are made right again."""
    if dice.random() < 0.3:
        return spoilt(seed, dice)
    if seed.startswith(_PNG):
        return _png(seed, dice)
    head = dice.choice((64, 200, 600))
    return seed[:4] + spoilt(seed[4:head], dice) + seed[head:]


def spoilt_zip(seed: bytes, dice: random.Random) -> bytes:
    """One part is spoilt, packed again, and the hashes that the others have of it are those of what it is now."""
    if dice.random() < 0.3:
        return spoilt(seed, dice)
    with zipfile.ZipFile(io.BytesIO(seed)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = dice.choice(list(parts))
    was, now = parts[name], _spoil_of(parts[name])(parts[name], dice)
    parts[name] = now
    old, new = (hashlib.sha256(data).hexdigest().encode() for data in (was, now))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for other, data in parts.items():
            written = data if other == name else data.replace(old, new)
            written = written if other == name else written.replace(b"%d" % len(was), b"%d" % len(now))
            archive.writestr(other, written)
    return out.getvalue()


def _spoil_of(data: bytes) -> Spoil:
    if data[:1] in {b"{", b"["}:
        return spoilt_json
    return spoilt_image if data.startswith((_PNG, b"\xff\xd8\xff")) else spoilt


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


def _changed(value: Any, dice: random.Random) -> Any:
    """A copy with something exchanged at a random depth."""
    if isinstance(value, dict) and value:
        key = dice.choice(list(value))
        match dice.randrange(8):
            case 0:
                return {k: v for k, v in value.items() if k != key}
            case 1:
                return value | {key: dice.choice(VALUES)}
            case 2:
                return value | {key: value[dice.choice(list(value))]}
            case _:
                return value | {key: _changed(value[key], dice)}
    if isinstance(value, list) and value:
        at = dice.randrange(len(value))
        match dice.randrange(6):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return value[:at] + [value[at]] * dice.choice((2, 70)) + value[at:]
            case _:
                return [*value[:at], _changed(value[at], dice), *value[at + 1 :]]
    if isinstance(value, str) and value and dice.random() < 0.5:
        return spoilt(value.encode("utf-8", "surrogatepass"), dice).decode("utf-8", "replace")
    return dice.choice(VALUES)


def _swapped(data: bytes, what: re.Pattern[bytes], dice: random.Random) -> bytes:
    """One match of `what` is overwritten by another."""
    found = [match.group() for match in what.finditer(data)]
    return _replaced(data, what, dice.choice(found), dice) if found else data


def _replaced(data: bytes, what: re.Pattern[bytes], by: bytes, dice: random.Random) -> bytes:
    found = [match.span() for match in what.finditer(data)]
    if not found:
        return data
    start, end = dice.choice(found)
    return data[:start] + by + data[end:]


def _png(seed: bytes, dice: random.Random) -> bytes:
    chunks, at = [], len(_PNG)
    while at + 12 <= len(seed):
        length = int.from_bytes(seed[at : at + 4], "big")
        chunks.append((seed[at + 4 : at + 8], seed[at + 8 : at + 8 + length]))
        at += 12 + length
    place = dice.randrange(len(chunks))
    kind, body = chunks[place]
    if dice.random() < 0.2:
        chunks.insert(place, dice.choice(chunks))
    elif kind == b"IDAT" and dice.random() < 0.5:
        chunks[place] = (kind, zlib.compress(spoilt(zlib.decompress(body), dice)))
    else:
        chunks[place] = (kind, spoilt(body, dice) if body else dice.randbytes(4))
    return _PNG + b"".join(
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
        for kind, body in chunks
    )
