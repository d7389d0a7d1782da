"""Names of what studies that prune level by level store."""


def network(level: int, control: str, replicate: int) -> str:
    """Return the name of a network in the run's folder."""
    return f"level_{level:02d}/{control}/replicate_{replicate}"


def rewound(replicate: int) -> str:
    """Return the name of the artifact that keeps the state tickets restart from."""
    return f"rewound/replicate_{replicate}"


def dilated(name: str, dilation: float) -> str:
    """Return the name of a network where it is trained longer or shorter.

    Example:
      >>> dilated("a", 2.5), dilated("a", 1.0000001)
      ('dilation_2.5/a', 'dilation_1.0000001/a')
    """
    short = f"{dilation:g}"
    return (
        name
        if dilation == 1
        else f"dilation_{short if float(short) == dilation else dilation}/{name}"
    )
