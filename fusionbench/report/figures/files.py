"""Figures as files, and the smaller of their two forms for a page that holds everything itself."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fusionbench.report.figures.forms import forms
from fusionbench.report.figures.words import LeftOut, Picture
from fusionbench.store import Store

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
    for picture in pictures:
        if isinstance(picture, LeftOut):
            yield picture
            continue
        made = forms(picture.figure, picture.colours)
        store.write_bytes(f"{place}/{picture.name}.svg", made.svg)
        store.write_bytes(f"{place}/{picture.name}.png", made.png)
        kind, smallest = min((("svg+xml", made.svg), ("png", made.png)), key=lambda form: len(form[1]))
        uri = f"data:image/{kind};base64,{base64.b64encode(smallest).decode('ascii')}"
        wide = round(96 * float(picture.figure.get_figwidth()))
        yield Image(picture.name, picture.title, picture.caption, picture.alt, uri, wide)
