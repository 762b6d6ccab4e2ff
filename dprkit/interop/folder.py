"""Foreign folders: their JSON files, their weights, and the transformer that these make.

Whoever reads one comes through here: `convert`, its --backbone, and `train --init`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from dprkit.data.signatures import LFS
from dprkit.errors import FormatError, InputError, loading, reading
from dprkit.interop.tokenizer import tokenizer_in
from dprkit.interop.torch_files import read_torch_file
from dprkit.interop.tower import Tower
from dprkit.models.retriever_folder import T5, hush, load_transformer, of_config, whole
from dprkit.models.tokens import SETTINGS

CONFIG = "config.json"
ADAPTER = "adapter_config.json"
SAFETENSORS, TORCH = "model.safetensors", "pytorch_model.bin"
OTHERS = {
    "*.gguf": "GGUF",
    "*.onnx": "ONNX",
    "onnx/*.onnx": "ONNX",
    "tf_model.h5": "TensorFlow",
    "flax_model.msgpack": "Flax",
    "openvino*/*.xml": "OpenVINO",
}
"""Forms of weights that are not read."""


# --- JSON ---------------------------------------------------------------------------------------


def read_json(path: Path, kind: Any = Any) -> Any:
    """The value of a JSON file, of the type `kind`. Raises InputError, FormatError."""
    with reading(path):
        data = path.read_bytes()
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{path}: {error}; not supported") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise FormatError(path, 1, f"not JSON: {error}") from None


def json_in(folder: Path, name: str) -> dict[str, Any]:
    """The object in a JSON file that a folder may lack; then it is empty."""
    path = folder / name
    value = read_json(path) if path.is_file() else {}
    if not isinstance(value, dict):
        raise FormatError(path, 1, "a JSON object is needed")
    return value


def read_config(folder: Path) -> dict[str, Any]:
    """What config.json says. Raises InputError for what dprkit would read otherwise than meant."""
    _refuse_pointers(folder)
    config = json_in(folder, CONFIG)
    if (folder / ADAPTER).is_file():
        raise InputError(
            f"{folder}: holds an adapter ({ADAPTER}); merge it into its base model first (peft: "
            "merge_and_unload, then save_pretrained) and name that folder"
        )
    if not config:
        raise InputError(f"{folder}: has no {CONFIG}; name the folder of a Hugging Face model")
    for key in ("quantization_config", "compression_config"):
        if config.get(key):
            raise InputError(f"{folder}: its weights are quantized ({key}), which is not supported")
    kind = config.get("model_type")
    if config.get("is_encoder_decoder") and str(kind) not in T5:
        raise InputError(f"{folder}: holds a {kind} model, with a decoder; encoders only")
    _check_code(folder, config)
    return config


def _refuse_pointers(folder: Path) -> None:
    """Refuse a folder of a clone that has not fetched its large files."""
    for path in sorted(folder.glob("*")):
        if path.is_file() and path.stat().st_size < 1024 and path.read_bytes().startswith(LFS):
            raise InputError(f"{path}: a pointer of Git LFS, not the data; fetch it: git lfs pull")


OTHER_MODEL = "name a model of a family that transformers has, such as bert or xlm-roberta"
TAKEN_OVER = ("nomic_bert", "eurobert")
"""Types of models whose code transformers has taken over, although their folders name their own."""


def _check_code(folder: Path, config: dict[str, Any]) -> None:
    """Refuse a model whose own code would have to run: transformers has none, or another.

    A folder may give a usual type to code that does something else, such as attention in both
    directions in a Qwen2: transformers' own would read it without a word.
    """
    from transformers import CONFIG_MAPPING

    kind, own = config.get("model_type"), config.get("auto_map")
    code = own.get("AutoModel") if isinstance(own, dict) else None
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        needs = f"; it needs code of its own, which is never run ({code or own})" if own else ""
        raise InputError(
            f"{folder}: transformers has no model of the type {kind!r}{needs}; {OTHER_MODEL}"
        )
    if code and kind not in TAKEN_OVER:
        raise InputError(
            f"{folder}: its {kind} needs code of its own, which is never run ({code}); "
            f"{OTHER_MODEL}"
        )


def model_max_length(folder: Path) -> int:
    """Tokens of a text as the tokenizer has it, or 0 where it does not say."""
    said = json_in(folder, SETTINGS).get("model_max_length")
    return int(said) if isinstance(said, int | float) and said > 0 else 0


# --- the model ------------------------------------------------------------------------------------


def config_in(folder: Path) -> Any:
    """The transformers config of a folder. Raises InputError."""
    from transformers import AutoConfig

    config_file = read_config(folder)
    hush()
    kind = config_file.get("position_embedding_type") or "absolute"
    with loading(folder, f"its {CONFIG} cannot be used"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        supported = kind == "absolute" or hasattr(type(config)(), "position_embedding_type")
    if not supported:
        raise InputError(
            f"{folder}: its {CONFIG} says position_embedding_type {kind!r}, which transformers' "
            f"{config.model_type} does not have; its vectors would be those of another model"
        )
    return config


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of a Hugging Face folder, in one file or several, by their names."""
    _refuse_pointers(folder)
    for name in (SAFETENSORS, TORCH):
        index = folder / f"{name}.index.json"
        names = {name}
        if index.is_file():
            names = set(read_json(index, dict[str, Any]).get("weight_map", {}).values())
        files = [folder / one for one in sorted(names)]
        if not all(file.is_file() for file in files):
            continue
        return {key: value for file in files for key, value in read_state(file).items()}
    raise InputError(f"{folder}: holds no weights ({SAFETENSORS} or {TORCH}){other_form(folder)}")


def read_state(path: Path, names_only: bool = False) -> dict[str, Any]:
    """What a safetensors file holds, or a file of torch.save.

    `names_only`: the numbers of a file of torch.save are not read.
    """
    from safetensors.torch import load_file

    if path.suffix != ".safetensors":
        return read_torch_file(path, names_only)
    with reading(path), loading(path, "damaged"):
        return load_file(path)


def other_form(folder: Path) -> str:
    """`"; its weights are ONNX, ..."` where a folder has weights in a form that is not read."""
    forms = {form for pattern, form in OTHERS.items() if any(folder.glob(pattern))}
    if not forms:
        return "; not a whole model"
    return (
        f"; its weights are in the form of {', '.join(sorted(forms))}, which is not read: save the "
        "model with transformers' save_pretrained"
    )


def backbone_in(folder: Path) -> tuple[nn.Module, list[str]]:
    """The transformer of a folder, whether its weights are safetensors or an older file.

    And the weights of heads that are passed over.
    """
    config = config_in(folder)
    if any(folder.glob(f"{SAFETENSORS}*")):
        check_shapes(folder, config)
        return load_transformer(folder)
    return built(config, read_weights(folder), folder)


LAYERS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer")


def check_shapes(folder: Path, config: Any) -> None:
    """Refuse weights that do not fit the config before memory is taken for what it says."""
    from safetensors import safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with reading(path), loading(path, "damaged"), safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                shapes[name] = tuple(file.get_slice(name).get_shape())
    layers = max(int(getattr(config, name, None) or 0) for name in LAYERS)
    if layers > max(len(shapes), 100):
        raise InputError(f"{folder}: its {CONFIG} says {layers} layers; its weights have fewer")
    hush()
    with loading(folder, "no model could be made of its config"), torch.device("meta"):
        model = of_config(config)
    for name, wanted in model.state_dict().items():
        shape = shapes.get(name, shapes.get(f"{model.base_model_prefix}.{name}"))
        if shape is not None and shape != tuple(wanted.shape):
            raise InputError(
                f"{folder}: its weights do not fit its config: {name} has another shape "
                f"({shape}, not {tuple(wanted.shape)})"
            )


def built(
    config: Any, weights: dict[str, Tensor], where: Path | str
) -> tuple[nn.Module, list[str]]:
    """The transformer that `config` describes, with `weights` under their Hugging Face names.

    Raises InputError where some are missing, have another shape, or are not used.
    """
    hush()
    with loading(where, "its weights do not fit its config"):
        with torch.device("meta"):
            kind = type(of_config(config))
        model, info = kind.from_pretrained(
            None,
            config=config,
            state_dict=weights,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    return whole(model, info, where)


def tower_in(folder: Path) -> Tower:
    """The transformer and the tokenizer of a Hugging Face folder, without a projection."""
    backbone, idle = backbone_in(folder)
    return Tower(backbone, tokenizer_in(folder), folder, idle=idle)
