"""made_from.json: the identities of the inputs, in an index that holds no copy of them.

The identity of an artifact comes from the bytes of its files. An exact index and an updated index
refer to their inputs, so the bytes of this file make their identity.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from dprkit.store.drafts import Draft
from dprkit.store.manifests import Input

MADE_FROM = "made_from.json"


def identities(inputs: Mapping[str, Input]) -> dict[str, str]:
    """What something is made from: the identity of each input by its name."""
    return {name: given.identity for name, given in inputs.items()}


def write_made_from(work: Draft, name: str = MADE_FROM) -> dict[str, str]:
    """Write the identities of the inputs of an artifact into it; returns them."""
    made_from = identities(work.record.inputs)
    with work.file(name) as file:
        file.write(msgspec.json.encode(made_from))
    return made_from
