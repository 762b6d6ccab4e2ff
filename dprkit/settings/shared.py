"""Settings that mean the same in several stages, described once."""

from __future__ import annotations

from typing import Annotated, Literal

from dprkit.settings.fields import about

SearchedIndex = Annotated[
    str | None, about("Folder of the index to search.", follows=("index.output_dir",))
]
EncodedCorpus = Annotated[
    str | None,
    about("Folder of the embeddings, which are the encoded corpus.", follows=("index.embeddings",)),
]
MovedRetriever = Annotated[
    str | None, about("Folder of the retriever of the index, if it was moved.", path=True)
]
MovedCorpus = Annotated[
    str | None, about("File of the corpus of the index, if it was moved.", path=True)
]
NumberType = Annotated[Literal["float32", "float16"], about("Number type of the vectors on disk.")]
