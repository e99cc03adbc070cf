"""The child process that opens PDFs: the only importer of pymupdf, killed from outside when it overruns.

A page that takes minutes or gigabytes cannot be aborted inside a process, so nothing of ours shares one
with it. Messages in both directions: a length, a JSON header, a length, raw bytes. Never pickle.
"""

from __future__ import annotations

import io
import json
import struct
import sys
from typing import IO, Any

from vlm_studio.ingest import invisible_text, page_text

POINTS_PER_INCH = 72.0
MAX_DPI = 220.0


def write_message(stream: IO[bytes], header: dict[str, Any], payload: bytes = b"") -> None:
    encoded = json.dumps(header).encode()
    stream.write(struct.pack(">IQ", len(encoded), len(payload)) + encoded + payload)
    stream.flush()


def read_message(stream: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """None at the end of the stream."""
    start = stream.read(12)
    if len(start) < 12:
        return None
    header_size, payload_size = struct.unpack(">IQ", start)
    return json.loads(stream.read(header_size)), stream.read(payload_size)


class Worker:
    """One document at a time. Every answer has "ok"; where it is false, "error" names what is wrong."""

    def __init__(self, pymupdf: Any) -> None:
        self.pymupdf = pymupdf
        self.document: Any = None

    def answer(self, request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        try:
            handler = getattr(self, f"do_{request['op']}")
            result: tuple[dict[str, Any], bytes] = handler(request, payload)
            return {"ok": True, **result[0]}, result[1]
        except MemoryError:
            return {"ok": False, "error": "memory"}, b""
        except Exception as error:
            # The parent decides what a person is told; the detail goes to its log.
            return {"ok": False, "error": "damaged", "detail": f"{type(error).__name__}: {error}"[:300]}, b""

    def do_open(self, request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        self.document = self.pymupdf.open(stream=payload, filetype="pdf")
        if not self.document.is_pdf:
            return {"state": "not pdf", "pages": 0}, b""
        if self.document.needs_pass and not self.document.authenticate(request.get("password") or ""):
            return {"state": "password", "pages": 0}, b""
        pages = self.document.page_count
        return {"state": "open", "pages": pages, "repaired": bool(self.document.is_repaired)}, b""

    def do_unlocked(self, request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        """The document without its encryption."""
        return {}, self.document.tobytes(encryption=self.pymupdf.PDF_ENCRYPT_NONE, garbage=0)

    def do_page(self, request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        """Image of a page within a pixel budget, and its words in that image's pixels."""
        page = self.document[request["index"]]
        width, height = page.rect.width, page.rect.height
        fit = (request["pixels"] / max(1.0, width * height)) ** 0.5
        scale = min(request.get("dpi", MAX_DPI) / POINTS_PER_INCH, fit)
        pixmap = page.get_pixmap(matrix=self.pymupdf.Matrix(scale, scale), alpha=False, annots=True)
        words = []
        for word in page.get_text("words", sort=False):
            box = self.pymupdf.Rect(word[:4]) * page.rotation_matrix
            words.append(
                [box.x0 * scale, box.y0 * scale, box.x1 * scale, box.y1 * scale, word[4], *word[5:8]]
            )
        header = {
            "width": pixmap.width,
            "height": pixmap.height,
            "dpi": scale * POINTS_PER_INCH,
            "words": words,
        }
        return header, pixmap.tobytes("jpeg", jpg_quality=90)

    def do_text(self, request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        """What can be read on a page, in points as displayed, without keeping an image of it."""
        return page_text.read(self.pymupdf, self.document[request["index"]]), b""

    def do_tables(self, request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        """Cells of ruled and aligned tables as [row, column, text, box in points as displayed]."""
        page = self.document[request["index"]]
        tables = []
        for table in page.find_tables().tables:
            texts, cells = table.extract(), []
            for row, line in enumerate(table.rows):
                for column, cell in enumerate(line.cells):
                    text = texts[row][column] if cell else None
                    if cell and text:
                        box = self.pymupdf.Rect(cell) * page.rotation_matrix
                        cells.append([row, column, text, [box.x0, box.y0, box.x1, box.y1]])
            tables.append(cells)
        return {"tables": tables}, b""

    def do_searchable(self, request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        """A PDF of page images with their words, invisible, lying on the ink."""
        output, start = self.pymupdf.open(), 0
        codes = invisible_text.codes_of(word[4] for item in request["pages"] for word in item["words"])
        font = self._unseen_font(output, codes)
        for item in request["pages"]:
            image = payload[start : start + item["bytes"]]
            start += item["bytes"]
            scale = POINTS_PER_INCH / item["dpi"]
            height = item["height"] * scale
            page = output.new_page(width=item["width"] * scale, height=height)
            page.insert_image(page.rect, stream=image)
            words = [(*(v * scale for v in word[:4]), word[4]) for word in item["words"]]
            layer = self._stream(output, invisible_text.content(words, height, codes, "Unseen"))
            kind, value = output.xref_get_key(page.xref, "Resources")
            holder, path = (
                (int(value.split()[0]), "Font") if kind == "xref" else (page.xref, "Resources/Font")
            )
            output.xref_set_key(holder, path, f"<< /Unseen {font} 0 R >>")
            parts = " ".join(f"{number} 0 R" for number in (*page.get_contents(), layer))
            output.xref_set_key(page.xref, "Contents", f"[{parts}]")
        return {}, output.tobytes(deflate=True, garbage=3)

    def _unseen_font(self, output: Any, codes: dict[str, int]) -> int:
        """The object number of a font with an empty shape for each of `codes`."""
        streams = (
            invisible_text.empty_font(), invisible_text.to_unicode(codes), invisible_text.glyph_map(codes)
        )  # fmt: skip
        file, cmap, glyphs = (self._stream(output, data) for data in streams)
        numbers = [output.get_new_xref() for _ in range(3)]
        sources = invisible_text.font_objects(file, cmap, glyphs, numbers[0], numbers[1])
        for number, source in zip(numbers, sources, strict=True):
            output.update_object(number, source)
        return int(numbers[2])

    @staticmethod
    def _stream(output: Any, data: bytes) -> int:
        number = output.get_new_xref()
        output.update_object(number, "<< >>")
        output.update_stream(number, data, new=True)
        return int(number)


def _limit(memory_bytes: int) -> None:
    """Where the system has resource limits, a page that grows without bound ends in a MemoryError."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - not on Windows

    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def main() -> None:
    incoming, outgoing = sys.stdin.buffer, sys.stdout.buffer
    # MuPDF writes warnings to stdout, which carries our messages.
    sys.stdout = io.StringIO()
    import pymupdf  # noqa: PLC0415 - loaded in the child only

    pymupdf.TOOLS.mupdf_display_errors(False)
    pymupdf.TOOLS.mupdf_display_warnings(False)
    _limit(int(sys.argv[1]))
    worker = Worker(pymupdf)
    while (message := read_message(incoming)) is not None:
        write_message(outgoing, *worker.answer(*message))


if __name__ == "__main__":
    main()
