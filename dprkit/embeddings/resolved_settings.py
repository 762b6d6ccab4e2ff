"""The settings of encode-corpus as they are for the retriever at hand: what None stands for."""

from __future__ import annotations

import msgspec

from dprkit.errors import MismatchError
from dprkit.models.config import ColbertConfig, load_config
from dprkit.models.nested_sizes import refuse_misfit, width_of
from dprkit.models.precision import settled
from dprkit.settings import EncodeSettings


def resolved(settings: EncodeSettings) -> tuple[EncodeSettings, tuple[str, ...]]:
    """The settings with a dtype, and the names of those that do not count for this retriever.

    Raises MismatchError for settings that are for another kind of model.
    """
    settings = settled(settings)
    retriever, dtype = str(settings.retriever), settings.dtype
    if isinstance(load_config(retriever), ColbertConfig):
        if settings.backend == "onnx":
            raise MismatchError(
                f"{retriever}: is a ColBERT model, which runs on torch alone; leave out "
                "--backend onnx (token vectors in 8 bits: --dtype int8)"
            )
        if settings.truncate_dim is not None:
            raise MismatchError(
                f"{retriever}: is a ColBERT model; --truncate-dim is for the vectors of a "
                "bi-encoder; leave it out"
            )
        if dtype == "binary":
            raise MismatchError(
                f"{retriever}: is a ColBERT model; --dtype binary is for a bi-encoder's one vector "
                "a passage; give --dtype int8"
            )
        return msgspec.structs.replace(settings, dtype=dtype or "float16"), ()
    if settings.pool_factor != 1:
        raise MismatchError(
            f"{retriever}: is a bi-encoder, which gives one vector a passage; --pool-factor is for "
            "the token vectors of a ColBERT model; leave it out"
        )
    if size := settings.truncate_dim:
        refuse_misfit(size, width_of(retriever) or size, retriever)
    return msgspec.structs.replace(settings, dtype=dtype or "float32"), ("pool_factor",)
