"""Frozen settings, as text and as a digest.

Settings are nested frozen dataclasses that check themselves on construction. Their text is TOML;
their digest is taken over the fields that differ from their defaults, so that a new field with a
default leaves the digests of old runs alone. Fields made with `not_hashed` (levels, replicates,
paths, hardware) never enter the digest: asking for more of them extends a run instead of starting
another.
"""

from jaxlth.settings.checks import (
    check_choice,
    check_fields,
    check_kind,
    check_unique,
    closest,
    effective,
    in_a_row,
    renamed,
    require,
)
from jaxlth.settings.conversion import flat, from_dict, read_toml, to_dict, to_toml, without_none
from jaxlth.settings.digests import (
    bounded,
    changed,
    default,
    differences,
    digest,
    file_name,
    not_hashed,
)

__all__ = [
    "RARE",
    "bounded",
    "changed",
    "check_choice",
    "check_fields",
    "check_kind",
    "check_unique",
    "closest",
    "default",
    "differences",
    "digest",
    "effective",
    "file_name",
    "flat",
    "from_dict",
    "in_a_row",
    "not_hashed",
    "read_toml",
    "renamed",
    "require",
    "to_dict",
    "to_toml",
    "without_none",
]

# Mark of a field that few people set, in its annotation: `--help` of a command only names it.
RARE = "rare"
