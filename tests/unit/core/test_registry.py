"""Discovery: what is installed, what is broken and why. The entry points are real, in distributions made for a test."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from importlib.metadata import EntryPoint, PathDistribution
from pathlib import Path

import pytest

from fusionbench.core.errors import SuiteError
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.registry import Registry, discover

GOOD = """
from fusionbench import FusionModel, Options, hookimpl

class Mean(FusionModel):
    name = {name!r}
    version = "3"
    class Options(Options):
        depth: int = 2
    def fit(self, train, val, ctx): raise NotImplementedError
    def restore(self, state, ctx): raise NotImplementedError

@hookimpl
def fusionbench_models():
    return [Mean]
"""


class Site:
    """A folder of installed distributions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(
        self,
        distribution: str,
        code: str,
        *,
        plugin: str = "",
        metadata: str = "License-Expression: MIT",
        target: str = "",
    ) -> Site:
        """A distribution of one module whose entry point is called `plugin`."""
        module = f"fbtest_{distribution.replace('-', '_')}"
        (self.folder / f"{module}.py").write_text(textwrap.dedent(code))
        info = self.folder / f"{module}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n{metadata}\n")
        (info / "entry_points.txt").write_text(f"[fusionbench]\n{plugin or distribution} = {target or module}\n")
        return self

    def points(self) -> list[EntryPoint]:
        infos = sorted(self.folder.glob("*.dist-info"))
        return [point for info in infos for point in PathDistribution(info).entry_points]

    def discover(self, *kinds: str) -> Registry:
        return discover(kinds or ("models",), self.points())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Site(tmp_path)
    for name in [n for n in sys.modules if n.startswith("fbtest_")]:
        del sys.modules[name]


def reason(registry: Registry, name: str) -> str:
    """Why a plugin is broken."""
    record = next(p for p in registry.plugins if p.name == name)
    assert record.status == "broken"
    assert record.provides == {}
    assert "\n" not in record.reason
    return record.reason


def test_a_good_plugin(site: Site) -> None:
    registry = site.install("mean-model", GOOD.format(name="mean")).discover()
    (record,) = registry.plugins
    assert (record.name, record.distribution, record.version, record.licence) == (
        "mean-model",
        "mean-model",
        "1.2",
        "MIT",
    )
    assert (record.status, record.reason, dict(record.provides)) == ("ok", "", {"models": ("mean",)})
    assert registry.names("models") == ("mean",)
    assert registry.model("mean").version == "3"


def test_installed_distributions_are_found_by_their_entry_point(site: Site) -> None:
    """Through sys.path, as a user's package is; the built-ins take the same way."""
    site.install("mean-model", GOOD.format(name="mean"))
    found = {p.name: p.distribution for p in discover(("suites",)).plugins}
    assert found["mean-model"] == "mean-model"
    assert found["builtin"] == "fusionbench"


def test_only_hooks_of_the_kinds_asked_for_are_called(site: Site) -> None:
    code = GOOD.format(name="mean") + "@hookimpl\ndef fusionbench_datasets():\n    raise RuntimeError('called')\n"
    site.install("both", code)
    assert site.discover("models").plugins[0].status == "ok"
    assert reason(site.discover("models", "datasets"), "both") == "RuntimeError: called"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("def f(:", "SyntaxError"),
        ("raise SystemExit('this needs a GPU')", "SystemExit: this needs a GPU"),
        ("raise ValueError", "ValueError: no message"),
        ("raise ValueError('first\\nsecond')", "ValueError: first second"),
        ("from fusionbench import hookimpl\n@hookimpl\ndef fusionbench_modles():\n    return []", "fusionbench_modles"),
        ("from fusionbench import hookimpl\n@hookimpl\ndef fusionbench_models(task):\n    return []", "task"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_a_row_with_its_reason(site: Site, code: str, said: str) -> None:
    site.install("broken", code).install("mean-model", GOOD.format(name="mean"))
    registry = site.discover()
    assert said in reason(registry, "broken")
    assert registry.names("models") == ("mean",)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return None", "fusionbench_models returned None; return a list"),
        ("return Mean", "not iterable"),
        ("return 'mean'", "which has no name"),
        ("return [Mean, Mean]", "fusionbench_models returned 'mean' twice"),
        ("return [Mean(Mean.Options())]", "a subclass of FusionModel is needed"),
        ("return [type('Thing', (), {'name': 'thing'})]", "a subclass of FusionModel is needed"),
        ("return [type('Half', (FusionModel,), {'name': 'half'})]", "which does not implement fit, restore"),
        ("return [type('Nameless', (Mean,), {'name': ''})]", "which has no name"),
        ("yield Mean\n    raise KeyError('half-way')", "KeyError: 'half-way'"),
        ("raise SystemExit(2)", "SystemExit: 2"),
    ],
)
def test_a_hook_that_returns_rubbish_is_a_row_with_its_reason(site: Site, body: str, said: str) -> None:
    site.install("rubbish", GOOD.format(name="mean").replace("return [Mean]", body))
    assert said in reason(site.discover(), "rubbish")
    assert site.discover().names("models") == ()


def test_a_suite_is_named_after_its_file(site: Site) -> None:
    (site.folder / "mine.toml").write_text("title = 'Mine'")
    head = (
        "from pathlib import Path\nfrom fusionbench import hookimpl\n@hookimpl\ndef fusionbench_suites():\n    return "
    )
    site.install("suites", head + "[Path(__file__).with_name('mine.toml')]")
    site.install("not-suites", head + "[3]")
    registry = site.discover("suites")
    assert registry.suite("mine").read_text() == "title = 'Mine'"
    assert "AttributeError" in reason(registry, "not-suites")


def test_an_interrupt_is_not_a_broken_plugin(site: Site) -> None:
    site.install("interrupted", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        site.discover()


def test_the_same_model_twice_is_two_broken_rows_with_the_remedy_and_goes_by_its_distribution(site: Site) -> None:
    site.install("first-dist", GOOD.format(name="mean"), plugin="one")
    site.install("second-dist", GOOD.format(name="mean").replace('"3"', '"4"'), plugin="two")
    site.install("third-dist", GOOD.format(name="other"), plugin="three")
    registry = site.discover()
    assert [(p.name, p.status) for p in registry.plugins] == [("one", "broken"), ("three", "ok"), ("two", "broken")]
    first, _, second = registry.plugins
    assert first.reason == (
        "models: 'mean' is provided by plugin 'two' of second-dist, too; uninstall one, rename it, or write "
        "first-dist:mean"
    )
    assert "by plugin 'one' of first-dist, too" in second.reason
    assert first.provides == {"models": ("first-dist:mean",)}
    assert registry.names("models") == ("first-dist:mean", "other", "second-dist:mean")
    assert registry.model("first-dist:mean").version == "3"
    assert registry.model("second-dist:mean").version == "4"
    assert registry.owner("models", "second-dist:mean").name == "two"
    with pytest.raises(SuiteError, match=r"'mean' is provided by two .*write first-dist:mean or second-dist:mean"):
        registry.model("mean")


def test_what_a_plugin_brings_beside_a_name_that_another_has_goes_on(site: Site) -> None:
    two = GOOD.format(name="mean").replace("[Mean]", "[Mean, type('Median', (Mean,), {'name': 'median'})]")
    site.install("first-dist", two, plugin="one").install("second-dist", GOOD.format(name="mean"), plugin="two")
    assert site.discover().model("median").name == "median"


def test_a_name_may_be_written_with_its_distribution_where_it_is_the_only_one(site: Site) -> None:
    registry = site.install("first-dist", GOOD.format(name="mean"), plugin="one").discover()
    assert registry.model("first-dist:mean") is registry.model("mean")
    assert registry.knows("models", "first-dist:mean")
    assert not registry.knows("models", "second-dist:mean")
    with pytest.raises(SuiteError, match="unknown model 'second-dist:mean'"):
        registry.model("second-dist:mean")
    with pytest.raises(KeyError):
        registry.owner("models", "second-dist:mean")


def test_two_plugins_of_one_name_are_two_broken_rows_with_the_remedy(site: Site) -> None:
    """Rows, `check` and versions go by the plugin's name."""
    site.install("first-dist", GOOD.format(name="mean"), plugin="same")
    site.install("second-dist", GOOD.format(name="other"), plugin="same")
    registry = site.discover()
    assert [p.name for p in registry.plugins] == ["first-dist:same", "second-dist:same"]
    assert {p.status for p in registry.plugins} == {"broken"}
    assert registry.plugins[0].reason == (
        "two plugins are called 'same', one of first-dist and one of second-dist; uninstall one or rename its "
        "entry point"
    )
    assert registry.owner("models", "other").name == "second-dist:same"


def test_a_reference_may_name_the_distribution() -> None:
    ref = PluginRef.parse("first-dist:mean[depth=3]")
    assert (ref.name, dict(ref.options), str(ref)) == ("first-dist:mean", {"depth": 3}, "first-dist:mean[depth=3]")
    for text in (":mean", "first-dist:", "a:b:c"):
        with pytest.raises(SuiteError, match="cannot read"):
            PluginRef.parse(text)


def test_the_same_name_in_two_kinds_is_no_duplicate(site: Site) -> None:
    site.install("mean-model", GOOD.format(name="ibs"))
    kinds = ("models", "metrics")
    registry = discover(kinds, [*site.points(), EntryPoint("builtin", "fusionbench.builtin", "fusionbench")])
    assert registry.model("ibs").__name__ == "Mean"
    assert registry.metric("ibs").higher_is_better is False


def test_an_unknown_name_answers_with_neighbours_all_choices_and_what_is_broken(site: Site) -> None:
    site.install("a", GOOD.format(name="healnet")).install("b", GOOD.format(name="cox"))
    site.install("porpoise", "import no_such_module_anywhere")
    with pytest.raises(SuiteError) as caught:
        site.discover().model("heelnet")
    message = str(caught.value)
    assert message.startswith("unknown model 'heelnet'; did you mean 'healnet'? Choices: cox, healnet")
    assert "porpoise (ModuleNotFoundError: No module named 'no_such_module_anywhere')" in message


def test_an_unknown_name_says_nothing_of_plugins_where_none_is_broken(site: Site) -> None:
    with pytest.raises(SuiteError) as caught:
        site.install("b", GOOD.format(name="cox")).discover("models", "modalities").get("modalities", "graph")
    assert str(caught.value) == "unknown modality kind 'graph'. There are none."


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("License: Apache-2.0", "Apache-2.0"),
        ("License: MIT\n        with a second line", "MIT"),
        ("Summary: no word of it", "not stated"),
        ("License:  ", "not stated"),
    ],
)
def test_a_licence_is_one_line(site: Site, metadata: str, licence: str) -> None:
    site.install("mean-model", GOOD.format(name="mean"), metadata=metadata)
    assert site.discover().plugins[0].licence == licence


def test_a_plugin_without_a_distribution_is_listed_as_unknown(site: Site) -> None:
    site.install("mean-model", GOOD.format(name="mean"))
    registry = discover(("models",), [EntryPoint("loose", "fbtest_mean_model", "fusionbench")])
    record = registry.plugins[0]
    assert (record.distribution, record.version, record.licence) == ("unknown", "unknown", "not stated")
    assert record.status == "ok"


def test_an_entry_point_may_name_an_object(site: Site) -> None:
    code = """
        from fusionbench import hookimpl
        class Plugin:
            @hookimpl
            def fusionbench_models(self):
                return []
        plugin = Plugin()
    """
    site.install("object", code, target="fbtest_object:plugin").install("gone", code, target="fbtest_gone:nothing")
    registry = site.discover()
    assert [p.status for p in registry.plugins] == ["broken", "ok"]
    assert "nothing" in reason(registry, "gone")


def test_a_registry_is_frozen(site: Site) -> None:
    registry = site.install("mean-model", GOOD.format(name="mean")).discover()
    with pytest.raises(TypeError):
        registry.found["models"]["other"] = (object, "x")  # type: ignore[index]


def test_everything_that_ships_loads() -> None:
    registry = discover()
    assert {p.name: p.reason for p in registry.plugins if p.status == "broken"} == {}
    assert {"vector", "bag", "grid"} <= set(registry.modalities)
