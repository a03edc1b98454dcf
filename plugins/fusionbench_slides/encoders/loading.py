"""Encoders by name: `resnet50`, `torchscript:FILE`; where their weights come from and what these are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fusionbench import DataError, Encoder, PluginRef, Registry, SuiteError, discover, validate_options
from fusionbench.data.downloads import data_home, fetch, file_state, local_path, sha256_of

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class EncoderChoice:
    """An encoder that a user asked for.

    Attributes:
        ref: its name and options.
        file: weights that the user gave, or None.
    """

    ref: PluginRef
    file: Path | None = None

    @classmethod
    def parse(cls, text: str, weights: Path | None = None) -> EncoderChoice:
        """Read `NAME`, `NAME:FILE` or `NAME[option=value]:FILE`; `weights` is another way to give the file.

        Raises:
            SuiteError: malformed, or two files.
        """
        name, bracket, rest = text.partition("]")
        head, colon, file = rest.partition(":") if bracket else name.partition(":")
        ref = PluginRef.parse(f"{name}]{head}" if bracket else head)
        if colon and not file:
            raise SuiteError(f"encoder {text!r}: no file after the colon; write NAME:FILE")
        if file and weights is not None:
            raise SuiteError(f"encoder {text!r} has a file already; leave --weights {weights} out")
        return cls(ref, Path(file).expanduser() if file else weights)


@dataclass(frozen=True, eq=False)
class LoadedEncoder:
    """An encoder that is ready, and what a feature file says of it.

    Attributes:
        ref: its name and options, as text.
        weights: name of the file of weights; empty where it has none.
        sha256: of that file; empty where it has none.
    """

    encoder: Encoder
    ref: str
    version: str
    weights: str
    sha256: str


def load(choice: EncoderChoice, device: torch.device, *, registry: Registry | None = None) -> LoadedEncoder:
    """The encoder with its weights, downloaded where they are published and not there yet.

    Raises:
        SuiteError: unknown name or option, a file for an encoder that takes none, or no file for one that needs it.
        DataError: the file is absent, damaged, or cannot be downloaded.
    """
    registry = registry or discover(("encoders",))
    cls: type[Encoder] = registry.get("encoders", choice.ref.name)
    options = validate_options(registry, "encoders", choice.ref)
    file = weights_file(cls, choice.file)
    encoder = cls(options, file, device)
    about_file = (file.name, sha256_of(file)) if file is not None else ("", "")
    return LoadedEncoder(encoder, str(choice.ref), cls.version, *about_file)


def weights_file(
    cls: type[Encoder], given: Path | None, *, home: Path | None = None, allow_loopback_http: bool = False
) -> Path | None:
    """The file of an encoder's weights: the one that was given, or the published one from the data home.

    Args:
        home: where published weights are kept; the data home unless given.
        allow_loopback_http: see `fusionbench.data.downloads.fetch`.

    Raises:
        SuiteError, DataError: as `load`.
    """
    if given is not None:
        return _given(cls, given)
    if cls.needs_file:
        raise SuiteError(f"encoder {cls.name!r} needs a file of weights; write {cls.name}:FILE")
    if cls.weights is None:
        return None
    home = home or data_home()
    if file_state(home, cls.weights) == "present":
        return local_path(home, cls.weights)
    try:
        return fetch(home, cls.weights, allow_loopback_http=allow_loopback_http)
    except DataError as error:
        raise DataError(f"{error}; or bring the file from elsewhere and pass {cls.name}:FILE") from error


def _given(cls: type[Encoder], file: Path) -> Path:
    if not cls.needs_file and cls.weights is None:
        raise SuiteError(f"encoder {cls.name!r} has no weights; leave {file} out")
    if not file.is_file():
        raise SuiteError(f"{file}: no such file of weights; give another by {cls.name}:FILE")
    return file
