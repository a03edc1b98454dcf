"""A cell's time as bars, in the look of the reports."""

from __future__ import annotations

from matplotlib.figure import Figure

from fusionbench.report.figures.figure import ReportFigure
from fusionbench.report.figures.panels import lay_out, panels
from fusionbench.report.figures.style import COLOURS, Style, legend_handle, report_style, shortened
from fusionbench.tools.profiling.measuring import OF_THE_MODEL, Profile

LINE = 0.22
"""Inches of a bar with its gap."""
KINDS = {True: ("the model's steps", Style(COLOURS[0], "s")), False: ("the harness", Style(COLOURS[1], "s"))}


def drawn(profile: Profile) -> ReportFigure:
    """A bar for each kind of work: seconds, and the most memory that was held meanwhile."""
    longest = max(profile.spent, key=lambda name: profile.spent[name].seconds)
    with report_style():
        figure = _bars(profile)
    return ReportFigure(
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
    size = (2.9, LINE * len(names) + 0.1)
    columns = {
        "seconds": [profile.spent[name].seconds for name in names],
        "memory (MiB)": [profile.spent[name].peak_mib for name in names],
    }
    figure, axes = panels(["Time", "Memory of the process"], size, most=2, share_y=True)
    for ax, (title, values) in zip(axes, columns.items(), strict=True):
        ax.barh(range(len(names)), values, 0.7, color=[KINDS[name in OF_THE_MODEL][1].colour for name in names])
        ax.set(xlim=(0, 1.05 * max(values)), ylim=(len(names) - 0.4, -0.6), xlabel=title)
        ax.grid(visible=False)
    axes[0].set_yticks(range(len(names)), [shortened(name, 40) for name in names])
    lay_out(figure, size, [legend_handle(style, label) for label, style in KINDS.values()])
    return figure
