"""Order and styles of methods in reports of pruning early."""

from typing import Any

from jaxlth.plots import control_styles, theme

SCHEDULE_TITLES = {
    "none": "",
    "before-once": "before training, at once",
    "before-rounds": "before training, in rounds",
    "iterative-once": "between trainings, at once",
    "iterative-rounds": "between trainings, in rounds",
    "after": "after training",
    "after-rounds": "after training, in rounds",
    "after-rewind": "after training, rewound",
    "untrained": "masks trained, weights not",
    "finetuned": "masks trained, then weights",
}
LINE_STYLES = {
    "magnitude": theme.LineStyle(theme.BLUE, "o"),
    "snip": theme.LineStyle(theme.ORANGE, "s"),
    "grasp": theme.LineStyle(theme.GREEN, "^"),
    "synflow": theme.LineStyle(theme.RED, "D"),
    "random": theme.LineStyle(theme.BLACK, "X"),
    "grasp-magnitude": theme.LineStyle(theme.SKY, "v"),
    "grasp-lowest": theme.LineStyle(theme.PURPLE, "P"),
    "none": theme.LineStyle(theme.BLUE, "o"),
    **{name: control_styles.line_style(name) for name in ("shuffled", "reinitialized", "inverted")},
}
_COLORS = ("#999933", "#882255", "#44AA99", "#AA4499", "#DDCC77", "#332288", "#117733", "#661100")
_MARKERS = "osD^vPX<>"


def line_styles(names: list[Any]) -> dict[Any, theme.LineStyle]:
    """Return a style for each line: a score, or an ablation, has the same one everywhere."""
    unlisted = [name for name in names if name not in LINE_STYLES]
    cycle = {
        name: theme.LineStyle(_COLORS[i % len(_COLORS)], _MARKERS[i % len(_MARKERS)])
        for i, name in enumerate(unlisted)
    }
    return {name: LINE_STYLES.get(name) or cycle[name] for name in names}


def schedule_order(schedule: Any) -> tuple[int, str]:
    """Return a key that sorts schedules from before training to after; unknown ones come last."""
    listed = list(SCHEDULE_TITLES)
    rank = listed.index(schedule) if schedule in listed else len(listed)
    return rank, str(schedule)
