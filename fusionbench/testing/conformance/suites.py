"""Checks of a suite."""

from __future__ import annotations

from functools import cached_property

from fusionbench.core.registry import Registry
from fusionbench.suites.suite import Suite
from fusionbench.suites.suite_files import load_suite
from fusionbench.suites.validation import check_names
from fusionbench.testing.conformance.check import Check, Checklist, Failure, Promise, checks_of


class SuiteSubject:
    """A registered suite file."""

    def __init__(self, name: str, registry: Registry) -> None:
        self.name, self.registry = name, registry

    @cached_property
    def suite(self) -> Suite:
        """The suite, read when first used."""
        return load_suite(self.registry, self.name)


CHECKS: Checklist[SuiteSubject] = Checklist()


@CHECKS.add(
    "parses",
    "The file is TOML, and its keys and values are those of a suite.",
    cause="a misspelt key, or a value of another type; the message names the line or the key.",
)
def parses(subject: SuiteSubject) -> None:
    _ = subject.suite


@CHECKS.add(
    "has-a-title",
    "The title is there, on one line.",
    cause='`title = ""`, or a title that was to be filled in later.',
    needs=("parses",),
)
def has_a_title(subject: SuiteSubject) -> None:
    title = subject.suite.title
    if not title.strip() or "\n" in title:
        raise Failure(f"the title {title!r}")


@CHECKS.add(
    "names-resolve",
    "Every dataset, model, metric and option that it names is installed.",
    cause="a renamed plugin or option; or a plugin that the package does not list among its dependencies.",
    needs=("parses",),
)
def names_resolve(subject: SuiteSubject) -> None:
    check_names(subject.suite, subject.registry)


PROMISES: tuple[Promise[SuiteSubject], ...] = tuple(CHECKS.promises)


def checks(name: str, registry: Registry) -> list[Check]:
    """The checks of one suite."""
    return checks_of("suite", name, lambda: SuiteSubject(name, registry), PROMISES)
