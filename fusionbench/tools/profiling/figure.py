"""A cell's time as bars, in the look of the reports."""

from __future__ import annotations

from matplotlib.figure import Figure

from fusionbench.report.figures.figure import Drawn
from fusionbench.report.figures.frame import Side, frame
from fusionbench.report.figures.panels import Room, panels
from fusionbench.report.figures.style import COLOURS, Look, fitted, handle, legend, styled, width
from fusionbench.tools.profiling.measuring import OF_THE_MODEL, STEPS, Profile

LINE = 0.22
"""Inches of a bar with its gap."""
KINDS = {True: ("the model's steps", Look(COLOURS[0], "s")), False: ("the harness", Look(COLOURS[1], "s"))}


def drawn(profile: Profile) -> Drawn:
    """A bar for each kind of work: seconds, and the most memory that was held meanwhile."""
    longest = max(profile.spent, key=lambda name: profile.spent[name].seconds)
    with styled():
        figure = _bars(profile)
    return Drawn(
        "profile",
        f"Where the time goes: {profile.cell.label}",
        "Wall time of one cell without what a process does once; memory is the most that the process held meanwhile, "
        "with all that it held anyway.",
        f"Bars of seconds and of memory for {len(profile.spent)} kinds of work; {longest} takes longest, "
        f"{profile.spent[longest].seconds:.2f} of {profile.seconds:.2f} seconds.",
        figure,
    )


def _bars(profile: Profile) -> Figure:
    names = list(profile.spent)
    margin = max(width(name) for name in STEPS) + 0.25
    room = Room(2.9, LINE * len(names) + 0.1, left=0.2, below=0.5, margin=margin)
    columns = {
        "seconds": [profile.spent[name].seconds for name in names],
        "memory (MiB)": [profile.spent[name].peak_mib for name in names],
    }
    figure, axes = panels(
        ["Time", "Memory of the process"], room, most=2, labels=[label for label, _ in KINDS.values()]
    )
    for ax, (title, values) in zip(axes, columns.items(), strict=True):
        colours = [KINDS[name in OF_THE_MODEL][1].colour for name in names]
        for i, bar in enumerate(zip(values, colours, strict=True)):
            ax.bar(i, *bar)
        ax.limit(x=(0, 1.05 * max(values)), y=(len(names) - 0.4, -0.6))
        frame(ax, Side(title, grid=False), None)
    for i, name in enumerate(names):
        axes[0].text(-0.04, i, fitted(name, margin), axes[0].beside, ha="right", va="center")
    legend(figure, [handle(look, label) for label, look in KINDS.values()])
    return figure
