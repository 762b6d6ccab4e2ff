"""made_from.json: the identities of the inputs, in an index that holds no copy of them.

The identity of an artifact comes from the bytes of its files. An exact index and an updated index
refer to their inputs, so the bytes of this file make their identity.
"""

from __future__ import annotations

import msgspec

from dprkit.store.drafts import Draft

MADE_FROM = "made_from.json"


def write_made_from(work: Draft) -> None:
    """Write the identities of the inputs of an artifact into it."""
    identities = {name: given.identity for name, given in work.record.inputs.items()}
    with work.file(MADE_FROM) as file:
        file.write(msgspec.json.encode(identities))
