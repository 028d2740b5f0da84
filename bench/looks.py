"""How lines and bars look in all figures.

Colours are Okabe and Ito's, which colour-blind readers tell apart.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

TRUTH = "#444444"
WIDTH_INCHES = 3.5  # one column of a paper
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")


def look(number: int) -> tuple[str, str]:
    """Colour and dash both, so that lines that lie on each other still show as several."""
    return COLOURS[number % len(COLOURS)], STYLES[number % len(STYLES)]


def legend_handles(figure: "Figure") -> "dict[str, Artist]":
    """Label -> handle over all panels, each label once: for one legend of them all."""
    return {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
