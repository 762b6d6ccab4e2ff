"""Settings of push."""

from __future__ import annotations

from typing import Annotated

import msgspec

from dprkit.settings.fields import about


class PushSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Upload a model to the Hugging Face hub.

    It creates the repository and uploads the files of the model with its card. The head of the card
    has the metrics of the validation, and of the folders of --results. The token is that of
    `hf auth login`, or HF_TOKEN; HF_ENDPOINT names another hub.

    Example: dprkit push me/my-retriever --model runs/dprkit/model --results runs/dprkit/results

    Settings:
        name: Name of the repository: OWNER/NAME, or a name of your own.
        model: Folder of the retriever or reader, or of what convert --to made of it.
        results: Folders that evaluate wrote, whose metrics go into the card.
        private: Create the repository so that only you and those you allow can see it.
        update: Write into a repository that is there already.
        message: Message of the commit.
    """

    name: Annotated[str | None, about(flag="argument")] = None
    model: Annotated[str | None, about(follows=("train.output_dir",))] = None
    results: Annotated[tuple[str, ...], about(path=True)] = ()
    private: bool = True
    update: bool = False
    message: str = "Upload a model"
