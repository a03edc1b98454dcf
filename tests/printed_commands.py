"""Commands that outputs advise, found as a reader finds them: `fusionbench`, a verb, and words quoted for a shell."""

from __future__ import annotations

import re
import shlex
from html import unescape

from fusionbench.core.commands import OWN_COMMANDS

_WORD = r"(?:'[^']*'(?:\"'\"'[^']*')*|[\w@%+=/-]|[.:](?!\s|$)|<[\w ]+>)+"
_COMMAND = re.compile(rf"fusionbench (?:{'|'.join(sorted(OWN_COMMANDS))})(?: {_WORD})*")
_PLACEHOLDER = re.compile(r"<.+>|[A-Z][A-Z_]*")


def printed_commands(text: str) -> list[str]:
    """Every command in a text or an HTML page, in its order, each once."""
    found = (match[0] for match in _COMMAND.finditer(unescape(text)))
    return list(dict.fromkeys(found))


def has_placeholder(command: str) -> bool:
    """Whether a word of it is to be replaced by the reader: `<path of study.toml>`, MODEL."""
    return any(_PLACEHOLDER.fullmatch(word) for word in shlex.split(command))
