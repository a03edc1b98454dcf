"""Encoders: parameters, weights and where they come from, files of the user's own, what is refused."""

from __future__ import annotations

import hashlib
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fusionbench_slides.encoders.colours import ColourOptions, normalised
from fusionbench_slides.encoders.loading import EncoderChoice, load, weights_file
from fusionbench_slides.encoders.mean_colour import MeanColour
from fusionbench_slides.encoders.onnx import Onnx
from fusionbench_slides.encoders.resnet import ResNet
from fusionbench_slides.encoders.resnet50 import ResNet50, ResNet50Trunc
from fusionbench_slides.encoders.torchscript import TorchScript
from torch import Tensor, nn

from fusionbench import DataError, Encoder, Options, PluginError, Source, SuiteError
from tests.unit.data.test_downloads import Server, send, server
from tests.unit.onnx_files import write_mean_model

CPU = torch.device("cpu")
__all__ = ["server"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ResNet50.example(tmp_path_factory.mktemp("weights"))


def tiles(count: int = 3, side: int = 64) -> Tensor:
    return torch.randint(0, 256, (count, side, side, 3), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


def embed(encoder: Encoder, batch: Tensor) -> Tensor:
    with torch.inference_mode():
        return encoder(batch)


def test_resnet50_has_the_published_number_of_parameters_and_names() -> None:
    network = ResNet()
    assert sum(p.numel() for p in network.parameters()) == 25_557_032
    state = network.state_dict()
    assert len(state) == 320  # as torchvision's: 161 parameters and 3 buffers of each of 53 normalisations
    shapes = {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.num_batches_tracked": (),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer1.0.downsample.1.running_var": (256,),
        "layer2.3.bn2.bias": (128,),
        "layer3.5.conv2.weight": (256, 256, 3, 3),
        "layer4.0.conv2.weight": (512, 512, 3, 3),
        "layer4.2.conv3.weight": (2048, 512, 1, 1),
        "fc.weight": (1000, 2048),
        "fc.bias": (1000,),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes
    assert network.layer2[0].conv2.stride == (2, 2)  # v1.5: where the published weights have it


def test_resnet50_is_2048_wide_and_trunc_1024(checkpoint: Path) -> None:
    for cls, width in ((ResNet50, 2048), (ResNet50Trunc, 1024)):
        features = embed(cls(Options(), checkpoint, CPU), tiles())
        assert features.shape == (3, width)
        assert features.isfinite().all()


def test_a_features_oracle_of_plain_functions(checkpoint: Path) -> None:
    """The first block by torch's functions alone, in evaluation mode and with normalised colours."""
    state = torch.load(checkpoint, weights_only=True)
    encoder = ResNet50(Options(), checkpoint, CPU)
    x = normalised(tiles(), CPU)

    def conv(x: Tensor, conv_name: str, bn: str, **how: Any) -> Tensor:
        x = nn.functional.conv2d(x, state[f"{conv_name}.weight"], **how)
        mean, var = state[f"{bn}.running_mean"], state[f"{bn}.running_var"]
        return nn.functional.batch_norm(x, mean, var, state[f"{bn}.weight"], state[f"{bn}.bias"])

    stem = nn.functional.max_pool2d(conv(x, "conv1", "bn1", stride=2, padding=3).relu(), 3, 2, 1)
    y = conv(stem, "layer1.0.conv1", "layer1.0.bn1").relu()
    y = conv(y, "layer1.0.conv2", "layer1.0.bn2", padding=1).relu()
    y = conv(y, "layer1.0.conv3", "layer1.0.bn3")
    y = (y + conv(stem, "layer1.0.downsample.0", "layer1.0.downsample.1")).relu()
    network = encoder.network
    with torch.inference_mode():
        seen = network.layer1[0](network.maxpool(network.relu(network.bn1(network.conv1(x)))))
    assert torch.allclose(seen, y, atol=1e-5)


@pytest.mark.parametrize("cls", [ResNet50, ResNet50Trunc])
def test_features_do_not_depend_on_the_batch(cls: type[ResNet50], checkpoint: Path) -> None:
    encoder, batch = cls(Options(), checkpoint, CPU), tiles(8)
    alone = torch.cat([embed(encoder, tile[None]) for tile in batch])
    assert (alone - embed(encoder, batch)).abs().max() < 1e-5


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    state = ResNet().state_dict()
    torch.save({k: v for k, v in state.items() if k != "fc.bias"}, tmp_path / "headless.pth")
    torch.save({**state, "conv1.weight": torch.zeros(64, 1, 7, 7)}, tmp_path / "grey.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "empty.pth").touch()
    for name, why in (("headless", "fc.bias"), ("grey", "conv1.weight"), ("list", ""), ("text", ""), ("empty", "")):
        with pytest.raises(DataError, match=rf"{name}.pth: no weights of ResNet-50 \(.*{why}") as caught:
            ResNet50(Options(), tmp_path / f"{name}.pth", CPU)
        assert "\n" not in str(caught.value)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("exploded"),))


def test_pickled_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.weight": Bomb()}, tmp_path / "bomb.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Bomb(), protocol=2))
    for name in ("bomb", "plain"):
        with pytest.raises(DataError, match=f"{name}.pth: no weights"):
            ResNet50(Options(), tmp_path / f"{name}.pth", CPU)
    assert not (tmp_path / "exploded").exists()


def test_published_weights_are_known_by_the_digits_of_their_names() -> None:
    for cls, digits in ((ResNet50, "11ad3fa6"), (ResNet50Trunc, "19c8e357")):
        assert cls.weights is not None
        assert cls.weights.sha256 == digits
        assert cls.weights.url == f"https://download.pytorch.org/models/resnet50-{digits}.pth"
        assert cls.weights.path == f"weights/resnet50-{digits}.pth"


BODY = b"weights" * 1000
SHA = hashlib.sha256(BODY).hexdigest()


def served(server: Server, *bodies: bytes, digits: str = SHA[:8]) -> type[Encoder]:
    """An encoder whose published weights a server of this machine has."""
    path = f"net-{digits}.pth"
    url = server.source(*(send(body) for body in bodies), path=path).url

    class Served(MeanColour):
        name = "served"
        weights = Source(f"weights/{path}", url, digits, "CC0")

    return Served


def fetched(cls: type[Encoder], home: Path) -> Path | None:
    return weights_file(cls, None, home=home, allow_loopback_http=True)


def test_weights_are_downloaded_once(server: Server, tmp_path: Path) -> None:
    cls = served(server, BODY)
    for _ in range(2):
        path = fetched(cls, tmp_path)
        assert path == tmp_path / f"weights/net-{SHA[:8]}.pth"
        assert path.read_bytes() == BODY
    assert len(server.asked) == 1
    assert [p.name for p in (tmp_path / "weights").iterdir()] == [path.name]


def test_a_damaged_download_is_tried_again(server: Server, tmp_path: Path) -> None:
    path = fetched(served(server, b"something else", BODY), tmp_path)
    assert path is not None
    assert path.read_bytes() == BODY


def test_weights_with_other_digits_are_never_named(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"sha256 that begins with {SHA[:8]}, found "):
        fetched(served(server, b"something else"), tmp_path)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_damaged_file_on_the_disk_is_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / f"weights/net-{SHA[:8]}.pth").write_bytes(b"cut off")
    path = fetched(served(server, BODY), tmp_path)
    assert path is not None
    assert path.read_bytes() == BODY


def test_too_few_digits_are_no_checksum(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be downloaded"):
        fetched(served(server, BODY, digits=SHA[:6]), tmp_path)


@pytest.mark.parametrize(
    ("text", "ref", "file"),
    [
        ("resnet50", "resnet50", None),
        ("torchscript:dir/a b.pt", "torchscript", "dir/a b.pt"),
        ("onnx[normalise=half]:m.onnx", "onnx[normalise=half]", "m.onnx"),
        ("onnx:C:/m.onnx", "onnx", "C:/m.onnx"),
    ],
)
def test_names_with_files(text: str, ref: str, file: str | None) -> None:
    choice = EncoderChoice.parse(text)
    assert (str(choice.ref), choice.file) == (ref, None if file is None else Path(file))


@pytest.mark.parametrize(
    ("text", "weights", "why"),
    [
        ("resnet51", None, "unknown encoder 'resnet51'; did you mean 'resnet50'"),
        ("torchscript", None, "needs a file of weights; write torchscript:FILE"),
        ("torchscript:", None, "no file after the colon"),
        ("torchscript:gone.pt", None, "gone.pt: no such file of weights"),
        ("onnx:a.onnx", Path("b.onnx"), "has a file already; leave --weights b.onnx out"),
        ("mean-colour", Path("w.pth"), "has no weights; leave w.pth out"),
        ("torchscript[normalise=imagenett]:a.pt", None, "option 'normalise'"),
        ("mean-colour[width=3]", None, "unknown option 'width'"),
    ],
)
def test_a_wrong_encoder_is_one_line(text: str, weights: Path | None, why: str) -> None:
    with pytest.raises(SuiteError, match=why) as caught:
        load(EncoderChoice.parse(text, weights), CPU)
    assert "\n" not in str(caught.value)


def test_what_is_loaded_says_what_it_is(checkpoint: Path) -> None:
    loaded = load(EncoderChoice.parse("resnet50", checkpoint), CPU)
    sha = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert (loaded.ref, loaded.version, loaded.weights, loaded.sha256) == ("resnet50", "1", "random.pth", sha)


def test_mean_colour_is_mean_and_spread() -> None:
    batch = tiles()
    seen = embed(MeanColour(Options(), None, CPU), batch).numpy()
    plain = batch.numpy().reshape(3, -1, 3) / 255
    assert np.allclose(seen, np.hstack([plain.mean(axis=1), plain.std(axis=1)]), atol=1e-6)


class Net(nn.Module):
    """Mean colour of tiles of 64 pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, 3, 64 * 64).mean(dim=2)


class Deep(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


def scripted(net: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(net), str(path))
    return path


@pytest.fixture
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return scripted(request.param(), tmp_path / "model.pt")


@pytest.mark.parametrize("model", [Net], indirect=True)
def test_torchscript_gets_normalised_colours(model: Path) -> None:
    encoder = load(EncoderChoice.parse(f"torchscript[normalise=none]:{model}"), CPU).encoder
    assert torch.allclose(embed(encoder, tiles()), tiles().float().div(255).mean(dim=(1, 2)), atol=1e-6)
    half = TorchScript(ColourOptions(normalise="half"), model, CPU)
    assert torch.allclose(embed(half, tiles()), 2 * tiles().float().div(255).mean(dim=(1, 2)) - 1, atol=1e-6)


@pytest.mark.parametrize("model", [Net], indirect=True)
def test_torchscript_says_that_tiles_have_another_size(model: Path) -> None:
    with pytest.raises(SuiteError, match=r"model.pt: fails on tiles of 33 px .*pass --tile") as caught:
        embed(TorchScript(ColourOptions(), model, CPU), tiles(side=33))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", [Deep], indirect=True)
def test_torchscript_that_gives_something_else_is_refused(model: Path) -> None:
    with pytest.raises(SuiteError, match=r"model.pt: gives tuple; export a model that returns one tensor"):
        embed(TorchScript(ColourOptions(), model, CPU), tiles())


def test_no_torchscript_is_refused(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "text.pt").write_text("nothing")
    for path in (tmp_path / "text.pt", checkpoint):
        with pytest.raises(DataError, match=f"{path.name}: no TorchScript file") as caught:
            TorchScript(ColourOptions(), path, CPU)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("batch", [None, 1])
def test_onnx_gets_normalised_colours(batch: int | None, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = write_mean_model(tmp_path / "model.onnx", batch=batch)
    encoder = load(EncoderChoice.parse(f"onnx[normalise=none]:{model}"), CPU).encoder
    assert torch.allclose(embed(encoder, tiles()), tiles().float().div(255).mean(dim=(1, 2)), atol=1e-6)


def test_onnx_says_what_is_wrong(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "text.onnx").write_text("nothing")
    with pytest.raises(DataError, match=r"text\.onnx: no ONNX model"):
        Onnx(ColourOptions(), tmp_path / "text.onnx", CPU)
    with pytest.raises(SuiteError, match=r"model\.onnx: takes exactly 2 tiles"):
        embed(Onnx(ColourOptions(), write_mean_model(tmp_path / "model.onnx", batch=2), CPU), tiles())
    with pytest.raises(SuiteError, match=r"model.onnx: fails on tiles of 33 px .*pass --tile"):
        embed(Onnx(ColourOptions(), write_mean_model(tmp_path / "model.onnx", side=64), CPU), tiles(side=33))


def test_onnx_without_onnxruntime_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "model.onnx").touch()
    with pytest.raises(PluginError, match=r"needs onnxruntime; run: python -m pip install 'fusionbench\[onnx\]'"):
        load(EncoderChoice.parse(f"onnx:{tmp_path / 'model.onnx'}"), CPU)
