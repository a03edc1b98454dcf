"""A hook of MkDocs: links to files outside docs/ are shown as the file's path in the repository."""

import re
from typing import Any

OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)]+)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page with `[text](../path)` as `text (path)`, or as the path alone where that is the text."""

    def shown(link: re.Match[str]) -> str:
        text, path = link[1].strip("`"), link[2]
        return f"`{path}`" if text == path else f"{link[1]} (`{path}`)"

    return OUTSIDE.sub(shown, markdown)
