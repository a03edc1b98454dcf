"""Figures as files, and the smaller of their two forms for a page that holds everything itself."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from fusionbench.report.figures.figure import Drawn, LeftOut, Picture
from fusionbench.report.figures.forms import Drawing, draw
from fusionbench.results.store import Store

FOLDER = "figures"


@dataclass(frozen=True)
class Image:
    """A figure that a page shows.

    Attributes:
        uri: the image itself, as a data: address.
        width: in CSS pixels at its natural size.
    """

    name: str
    title: str
    caption: str
    alt: str
    uri: str
    width: int


def written(pictures: Iterable[Picture], store: Store, place: str = FOLDER) -> Iterator[Image | LeftOut]:
    """Each drawing as NAME.svg and NAME.png in a folder of the suite's; what was drawn there earlier goes."""
    folder = store.folder / place
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("*.svg"), *folder.glob("*.png")):
        old.unlink()
    waiting: deque[Callable[[], Image | LeftOut]] = deque()
    with ThreadPoolExecutor(max_workers=1) as beside:
        for picture in pictures:
            if isinstance(picture, LeftOut):
                waiting.append(partial(_as_it_is, picture))
            else:
                waiting.append(beside.submit(_image, picture, draw(picture.figure), store, place).result)
            if len(waiting) > 1:  # while one is compressed and put on the disk, the next is drawn
                yield waiting.popleft()()
        for rest in waiting:
            yield rest()


def _as_it_is(picture: LeftOut) -> LeftOut:
    return picture


def _image(picture: Drawn, drawing: Drawing, store: Store, place: str) -> Image:
    png = drawing.png(picture.colours)
    store.write_bytes(f"{place}/{picture.name}.svg", drawing.svg)
    store.write_bytes(f"{place}/{picture.name}.png", png)
    kind, smallest = min((("svg+xml", drawing.svg), ("png", png)), key=lambda form: len(form[1]))
    uri = f"data:image/{kind};base64,{base64.b64encode(smallest).decode('ascii')}"
    wide = round(96 * float(picture.figure.get_figwidth()))
    return Image(picture.name, picture.title, picture.caption, picture.alt, uri, wide)
