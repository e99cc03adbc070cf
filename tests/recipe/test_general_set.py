"""Lines to mix in: of the training side alone, with many different letters, spread over texts."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from PIL import Image

from vlm_studio.recipe.general_set import OF_ONE_TEXT, rich_lines


def test_rich_lines_are_of_the_training_side_and_of_many_texts(tmp_path: Path) -> None:
    said = ["le lac le lac le lac le", "Quatre-vingt-dix Kiwis, 1931", "un Zouave whisky (fjord)", "trop"]
    rows = ["file\ttext\tpage"]
    with zipfile.ZipFile(tmp_path / "lines.zip", "w") as archive:
        for text in range(1, 4):
            for number, line in enumerate(said):
                name = f"{text:04d}_{number:03d}.png"
                data = io.BytesIO()
                Image.new("L", (40, 10), 200).save(data, "PNG")
                archive.writestr(name, data.getvalue())
                rows.append(f"{name}\t{line}\twriter_{text}")
    (tmp_path / "labels.tsv").write_text("\n".join(rows) + "\n", "utf-8")
    found = [line for _, line in rich_lines(tmp_path, 9)]
    # The first of every ten texts is the side that no training sees; two are left.
    assert sorted(found) == sorted(2 * said[1:3])
    assert len(found) == 2 * OF_ONE_TEXT
    assert rich_lines(None, 9) == []
