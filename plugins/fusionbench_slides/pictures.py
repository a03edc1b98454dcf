"""Pictures to check by eye: a slide with the outline of its tissue and its tiles, and all slides on contact sheets."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fusionbench_slides.disk import write_whole
from fusionbench_slides.outcome import Outcome
from fusionbench_slides.tiling import Tiling

if TYPE_CHECKING:
    from numpy.typing import NDArray

OUTLINE, TILE = (0, 160, 60), (20, 60, 220)
SMALLEST, CELL, CAPTION, ACROSS, A_SHEET = 256, 240, 34, 6, 60
GREY = (200, 200, 200)


def slide_picture(tiling: Tiling) -> Image.Image:
    """The thumbnail with the tissue's outline (green) and the tiles that are kept (blue)."""
    rgb, mask = tiling.thumbnail.rgb, tiling.tissue.mask
    zoom = max(1, -(-SMALLEST // max(rgb.shape[:2])))
    big = np.repeat(np.repeat(rgb, zoom, axis=0), zoom, axis=1)
    picture = Image.fromarray(big)
    _draw_tiles(picture, tiling, zoom)
    width = max(1, max(big.shape) // 700)
    edge = _outline(np.repeat(np.repeat(mask, zoom, axis=0), zoom, axis=1), width)
    picture.paste(OUTLINE, mask=Image.fromarray(edge))
    return picture


def _outline(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The pixels of the mask within `width` of its border, the border of the picture included."""
    from scipy import ndimage

    inner: NDArray[np.bool_] = ndimage.binary_erosion(mask, iterations=width)
    return mask & ~inner


def _draw_tiles(picture: Image.Image, tiling: Tiling, zoom: int) -> None:
    """Half-transparent lines, so that small tiles do not hide what they lie on."""
    layer = Image.new("RGBA", picture.size)
    draw = ImageDraw.Draw(layer)
    per_pixel = tiling.thumbnail.downsample / zoom
    side = tiling.grid.step / per_pixel
    width = max(1, min(max(picture.size) // 900, round(side / 40)))
    for x, y in tiling.coords / per_pixel:
        draw.rectangle((x, y, x + side - 1, y + side - 1), outline=(*TILE, 170 if side > 12 else 90), width=width)
    picture.paste(layer, mask=layer.getchannel("A"))


@dataclass(frozen=True)
class Cell:
    """One slide of a contact sheet; `picture` need not exist."""

    picture: Path
    outcome: Outcome


def contact_sheets(cells: Sequence[Cell], folder: Path) -> list[Path]:
    """contact_sheet.png, or contact_sheet_1.png and so on, of at most 60 slides each."""
    paths = []
    for start in range(0, len(cells), A_SHEET):
        number = "" if len(cells) <= A_SHEET else f"_{start // A_SHEET + 1}"
        paths.append(folder / f"contact_sheet{number}.png")
        write_picture(paths[-1], _sheet(cells[start : start + A_SHEET]))
    return paths


def write_picture(path: Path, picture: Image.Image) -> None:
    """A PNG, whole or not at all."""
    png = io.BytesIO()
    picture.save(png, "PNG")
    write_whole(path, png.getvalue())


def _sheet(cells: Sequence[Cell]) -> Image.Image:
    across = min(ACROSS, len(cells))
    size = (across * CELL, -(-len(cells) // across) * (CELL + CAPTION))
    sheet = Image.new("RGB", size, (255, 255, 255))
    for number, cell in enumerate(cells):
        row, column = divmod(number, across)
        sheet.paste(_cell(cell), (column * CELL, row * (CELL + CAPTION)))
    return sheet


def _cell(cell: Cell) -> Image.Image:
    image = Image.new("RGB", (CELL, CELL + CAPTION), (255, 255, 255))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(11)
    if cell.picture.is_file():
        with Image.open(cell.picture) as picture:
            small = picture.convert("RGB")
        small.thumbnail((CELL - 8, CELL - 8))
        image.paste(small, ((CELL - small.width) // 2, (CELL - small.height) // 2))
    else:
        draw.rectangle((4, 4, CELL - 4, CELL - 4), fill=GREY)
    outcome = cell.outcome
    reason = outcome.error.partition(": ")[2] or outcome.error  # a cell has no room for the path before it
    said = reason or outcome.warning or f"{outcome.tiles} tiles"
    colour = (190, 0, 0) if outcome.error or outcome.warning else (0, 0, 0)
    draw.text((4, CELL), _fitting(outcome.slide, font), fill=(0, 0, 0), font=font)
    draw.text((4, CELL + 16), _fitting(said, font), fill=colour, font=font)
    return image


def _fitting(text: str, font: Any) -> str:
    """The text, cut to the width of a cell."""
    if font.getlength(text) <= CELL - 8:
        return text
    while text and font.getlength(f"{text}...") > CELL - 8:
        text = text[:-1]
    return f"{text}..."
