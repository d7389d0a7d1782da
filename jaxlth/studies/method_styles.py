"""How reports of pruning early order and draw methods."""

from typing import Any

from jaxlth.plots import controls, drawing

TITLES = {
    "none": "",
    "uss": "before training, at once",
    "ums": "before training, in rounds",
    "iss": "between trainings, at once",
    "ims": "between trainings, in rounds",
    "after": "after training",
    "ltr": "after training, rewound",
    "untrained": "masks trained, weights not",
    "finetuned": "masks trained, then weights",
}
STYLES = {
    "magnitude": drawing.Style(controls.BLUE, "o"),
    "snip": drawing.Style(controls.ORANGE, "s"),
    "grasp": drawing.Style(controls.GREEN, "^"),
    "synflow": drawing.Style(controls.RED, "D"),
    "random": drawing.Style(controls.BLACK, "X"),
    "grasp-magnitude": drawing.Style(controls.SKY, "v"),
    "grasp-lowest": drawing.Style(controls.PURPLE, "P"),
    "none": drawing.Style(controls.BLUE, "o"),
    **{name: drawing.style(name) for name in ("shuffled", "reinitialized", "inverted")},
}
_OTHERS = ("#999933", "#882255", "#44AA99", "#AA4499", "#DDCC77", "#332288", "#117733", "#661100")


def styles(names: list[Any]) -> dict[Any, drawing.Style]:
    """Return a style for each line: a score, or an ablation, has the same one everywhere."""
    others = [name for name in names if name not in STYLES]
    markers = "osD^vPX<>"
    return {
        name: STYLES.get(name)
        or drawing.Style(
            _OTHERS[others.index(name) % len(_OTHERS)],
            markers[others.index(name) % len(markers)],
        )
        for name in names
    }


def order(schedule: Any) -> tuple[int, str]:
    """Return a key that sorts schedules from before training to after; unknown ones come last."""
    known = list(TITLES)
    return (known.index(schedule) if schedule in known else len(known)), str(schedule)
