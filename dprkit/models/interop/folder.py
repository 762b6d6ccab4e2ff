"""Foreign folders: their JSON files, their weights, and the transformer that these make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from dprkit.errors import FormatError, InputError, reading
from dprkit.models.checkpoints import hush, load_backbone, whole
from dprkit.models.interop.pickled import read_torch_file
from dprkit.models.interop.tower import Tower
from dprkit.models.tokens import load_tokenizer

CONFIG = "config.json"
SAFETENSORS, TORCH = "model.safetensors", "pytorch_model.bin"


def local(source: str) -> Path:
    """The file or folder `source`, fetched from the Hugging Face hub where it is a name there."""
    path = Path(source)
    if path.exists():
        return path
    if source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise InputError(f"{source}: no such file or folder; check the path")
    from huggingface_hub import snapshot_download

    hush()
    patterns = ["*.json", "*.txt", "*.model", "*.safetensors", "*.bin"]
    try:
        return Path(snapshot_download(source, allow_patterns=patterns))
    except (OSError, ValueError) as error:
        problem = str(error).splitlines()[0]
        raise InputError(
            f"{source}: no such folder, nor found on the hub: {problem}; check the name"
        ) from None


def read_json(path: Path) -> Any:
    """The value of a JSON file. Raises InputError, FormatError."""
    with reading(path):
        data = path.read_bytes()
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise FormatError(path, 1, f"not JSON: {error}") from None


def json_in(folder: Path, name: str) -> dict[str, Any]:
    """The object in a JSON file that a folder may lack; then it is empty."""
    path = folder / name
    value = read_json(path) if path.is_file() else {}
    if not isinstance(value, dict):
        raise FormatError(path, 1, "a JSON object is needed")
    return value


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of a Hugging Face folder, in one file or several, by their names."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for name in (SAFETENSORS, TORCH):
        index = folder / f"{name}.index.json"
        names = set(read_json(index)["weight_map"].values()) if index.is_file() else {name}
        files = [folder / one for one in sorted(names)]
        if not all(file.is_file() for file in files):
            continue
        try:
            parts = [load_file(f) if name == SAFETENSORS else read_torch_file(f) for f in files]
        except SafetensorError as error:
            raise InputError(f"{folder}: its weights are damaged: {error}") from None
        return {key: value for part in parts for key, value in part.items()}
    raise InputError(f"{folder}: holds no weights ({SAFETENSORS} or {TORCH}); not a whole model")


def backbone_in(folder: Path) -> nn.Module:
    """The transformer of a folder, whether its weights are safetensors or an older file."""
    if any(folder.glob(f"{SAFETENSORS}*")):
        return load_backbone(folder)
    return built(config_in(folder), read_weights(folder), folder)


def config_in(folder: Path) -> Any:
    """The config of a Hugging Face folder. Raises InputError."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        problem = str(error).strip().splitlines()[0]
        raise InputError(f"{folder}: its {CONFIG} cannot be used: {problem}") from None


def built(config: Any, weights: dict[str, Tensor], where: Path | str) -> nn.Module:
    """The transformer that `config` describes, with `weights` under their Hugging Face names.

    Raises InputError where some are missing or have another shape.
    """
    from transformers import AutoModel

    hush()
    with torch.device("meta"):
        kind: Any = type(AutoModel.from_config(config))  # type: ignore[no-untyped-call]
    try:
        model, info = kind.from_pretrained(
            None, config=config, state_dict=weights, dtype=torch.float32, output_loading_info=True
        )
    except RuntimeError as error:
        raise InputError(f"{where}: its weights do not fit its config: {_last(error)}") from None
    return whole(model, info, where)


def _last(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()


def tower_in(folder: Path) -> Tower:
    """The transformer and the tokenizer of a Hugging Face folder, without a projection."""
    config = json_in(folder, CONFIG)
    if not config:
        raise InputError(f"{folder}: has no {CONFIG}; name the folder of a Hugging Face model")
    if config.get("is_encoder_decoder") or config.get("model_type") == "t5":
        raise InputError(f"{folder}: holds a {config.get('model_type')} model; encoders only")
    return Tower(backbone_in(folder), load_tokenizer(folder))
