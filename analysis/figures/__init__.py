"""The figures of a sweep, in the manner of the paper's: which ones there are, what each shows, and its caption.

overview      -                   both tasks of every pair against each other, with intervals: the main figure
first_tasks   Figures 9, 10       the first tasks' training curves
two_phases    Figure 1            both phases of plain SAC
methods       Figures 4-7, 11-14  the second task's curves beside the first task's bars, by method
counts        Figure 15           the same, by number of skill neurons
profiles      -                   share of runs above each success rate, over all pairs
"""

from dataclasses import replace

from analysis.blocks import Picture
from analysis.frames.load import Results
from analysis.tables.notes import undefined_notes

OF_PLAIN_SAC = ("first_tasks", "two_phases")
"""Figures in which no neurons are selected."""


def all_figures(results: Results) -> list[Picture]:
    """Every figure that the plan has the trials for; what has not run yet is left blank and said.

    Of success rates and of scores each its own. Matplotlib is loaded here and not with the package: what draws nothing
    does without it.
    """
    import matplotlib

    from analysis.figures.bands import CurveReader
    from analysis.figures.methods import counts_figure, methods_figure
    from analysis.figures.overview import overview
    from analysis.figures.phases import first_tasks, two_phases
    from analysis.figures.profiles import profiles
    from analysis.figures.style import STYLE

    makers = (overview, two_phases, methods_figure, counts_figure, first_tasks, profiles)
    pictures: list[Picture] = []
    for part in results.parts().values():
        reader, words = CurveReader(part), part.words
        with matplotlib.rc_context(STYLE):
            found = [make(part, reader) for make in makers]
        pictures += [
            replace(
                picture,
                name=picture.name + words.suffix,
                title=picture.title + words.title,
                caption=[*picture.caption, *([] if picture.name in OF_PLAIN_SAC else undefined_notes(part))],
            )
            for picture in found
            if picture is not None
        ]
    return pictures
