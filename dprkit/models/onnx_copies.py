"""ONNX copies of a retriever's encoders, made once and kept with it.

    RETRIEVER/.backends/question/onnx/model.onnx
    RETRIEVER/.backends/passage/...        absent where one encoder serves both sides
    RETRIEVER/.backends/passage-int8/...   weights and matrix products in 8 bits

Each is an artifact of its own, made from the retriever, and no part of the retriever's identity:
one that was made from another retriever does not count and is made again. Where the folder cannot
be written they lie in $XDG_CACHE_HOME/dprkit (~/.cache/dprkit) under the retriever's identity.
Whether a copy is right is asked of the retriever's probes before it appears.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dprkit.errors import GateError, InputError, LockedError, OutputError, need_extra
from dprkit.models.config import Side, bi_encoder_config
from dprkit.models.onnx_encoder import OnnxEncoder, hushed
from dprkit.progress import Run
from dprkit.store.atomic_files import CACHE_ADVICE, cache_folder
from dprkit.store.begin_or_resume import draft
from dprkit.store.integrity import Verifier
from dprkit.store.manifests import Input, is_artifact

FOLDER = ".backends"
KIND = "graph"
FORM = 2
"""Changes whenever copies by another dprkit are not to be used any more."""
CLOSE = 1e-3
"""How far a number of a probe's vector may be from the one saved: that of `dprkit info --check`."""
ALIKE = 0.9
"""The least cosine of a probe's vector by an 8-bit copy to the one saved."""
GRAPH = "onnx/model.onnx"


class OnnxCopy(NamedTuple):
    """A graph with the inputs input_ids and attention_mask (N, L) and the output vectors (N, D).

    `padding` is the id that fills up shorter texts. `agreement` is told by the probes: the
    largest difference of a number, or for int8 the least cosine.
    """

    path: Path
    padding: int
    agreement: float


class _Wanted(NamedTuple):
    """A copy that may have to be made: of which encoder, of which retriever."""

    retriever: Path
    identity: str
    sides: tuple[Side, ...]
    """What the encoder serves; one of a shared transformer serves both."""
    int8: bool

    @property
    def places(self) -> list[Path]:
        """Where the copy may lie, the best place first."""
        name = self.sides[0] + ("-int8" if self.int8 else "")
        short = self.identity.removeprefix("retriever:")[:16]
        return [self.retriever / FOLDER / name, cache_folder() / FOLDER[1:] / short / name]


def _wanted(
    retriever: Path | str, side: Side, int8: bool, check: Verifier | None = None
) -> _Wanted:
    config = bi_encoder_config(retriever, "an ONNX copy")
    one = config.shared and not config.separate_heads
    identity = (check or Verifier()).manifest(retriever, "retriever").identity
    return _Wanted(Path(retriever), identity, ("question", "passage") if one else (side,), int8)


def find_copy(
    retriever: Path | str, side: Side, int8: bool = False, check: Verifier | None = None
) -> OnnxCopy | None:
    """The ONNX copy of an encoder, if it is there and was made from this retriever as it is."""
    wanted = _wanted(retriever, side, int8, check) if is_artifact(retriever) else None
    return _found(wanted, check) if wanted else None


def _found(wanted: _Wanted, check: Verifier | None = None) -> OnnxCopy | None:
    for place in wanted.places:
        with suppress(InputError):
            manifest = (check or Verifier()).artifact(place, KIND)
            same = manifest.inputs["retriever"].identity == wanted.identity
            if same and manifest.settings["form"] == FORM:
                counts = manifest.counts
                return OnnxCopy(place / GRAPH, counts["padding"], counts["agreement"])
    return None


def keep_copy(retriever: Path | str, side: Side, int8: bool = False, run: Run = Run()) -> OnnxCopy:
    """The ONNX copy of an encoder; made, checked against the probes and kept, if it was not there.

    Several processes may ask at once: one makes it and the others wait. With `run.restart` it is
    made again. Raises MissingExtra, GateError where the probes do not agree, OutputError where it
    can be kept nowhere.
    """
    wanted = _wanted(retriever, side, int8)
    places = wanted.places
    copy = None if run.restart else _found(wanted)
    while copy is None:
        try:
            _make(wanted, places[0], run)
        except LockedError:
            time.sleep(0.2)
        except OutputError as error:
            del places[0]
            if not places:
                problem = str(error).partition(";")[0]
                raise OutputError(f"{problem}; {CACHE_ADVICE}") from None
        copy = _found(wanted)
    return copy


# --- making -------------------------------------------------------------------------------------


def _make(wanted: _Wanted, place: Path, run: Run) -> None:
    need_extra("onnx", "onnxruntime", "onnx", "onnxscript")
    Verifier(run.progress.note).artifact(wanted.retriever)
    settings = {"sides": wanted.sides, "int8": wanted.int8, "form": FORM}
    inputs = {"retriever": Input(os.path.realpath(wanted.retriever), wanted.identity)}
    # Begun anew: what lies there was found not to be what is wanted.
    with draft(place, KIND, settings, inputs, Run(command=run.command, restart=True)) as work:
        what = "8-bit ONNX copy" if wanted.int8 else "ONNX copy"
        served = " and ".join(wanted.sides)
        run.progress.note(f"{wanted.retriever}: making the {what} of its {served} encoder")
        with work.folder("onnx") as folder:
            path = folder / "model.onnx"
            padding = (_quantise if wanted.int8 else _export)(wanted, path, run)
            agreement = _checked(wanted, OnnxEncoder(path, padding))
        made = {name: version(name) for name in ("torch", "onnxruntime")}
        work.finish({"padding": padding, "agreement": agreement} | made)


def _export(wanted: _Wanted, path: Path, run: Run) -> int:
    """Write an encoder as a graph; the id of its padding."""
    from dprkit.models.onnx_export import write_graph
    from dprkit.models.retriever_folder import load_bi_encoder

    model = load_bi_encoder(wanted.retriever)[0].cpu()
    first = wanted.sides[0] == "question"
    encoder = model.question_encoder if first else model.passage_encoder
    write_graph(encoder, path)
    return int(getattr(encoder.backbone.config, "pad_token_id", 0) or 0)


def _quantise(wanted: _Wanted, path: Path, run: Run) -> int:
    """Weights in 8 bits, with a scale for each output; what meets them is scaled as it comes.

    Says the id of the padding.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    exact = keep_copy(wanted.retriever, wanted.sides[0], run=replace(run, restart=False))
    with hushed():
        quantize_dynamic(exact.path, path, per_channel=True, weight_type=QuantType.QInt8)
    return exact.padding


def _checked(wanted: _Wanted, encoder: OnnxEncoder) -> float:
    """How well a copy agrees with the vectors the retriever was saved with. Raises GateError."""
    from dprkit.models.probe_texts import read_probes
    from dprkit.models.tokens import load_tokens

    probes = read_probes(wanted.retriever)
    tokens = load_tokens(wanted.retriever, bi_encoder_config(wanted.retriever, "an ONNX copy"))
    pairs = {
        "question": (tokens.questions(probes.questions), probes.vectors["questions"]),
        "passage": (tokens.passages(probes.passages), probes.vectors["passages"]),
    }
    now = np.concatenate([encoder.encode(pairs[side][0], 1024) for side in wanted.sides])
    saved = np.concatenate([pairs[side][1] for side in wanted.sides])  # (16 or 32, D)
    return _cosine(wanted, now, saved) if wanted.int8 else _difference(wanted, now, saved)


def _difference(wanted: _Wanted, now: np.ndarray, saved: np.ndarray) -> float:
    difference = float(np.abs(now - saved).max())
    if not difference <= CLOSE:
        raise GateError(
            f"{wanted.retriever}: its ONNX copy differs by {difference:.3g} on the probes "
            f"({CLOSE:g} is allowed); use --backend torch"
        )
    return difference


def _cosine(wanted: _Wanted, now: np.ndarray, saved: np.ndarray) -> float:
    lengths = np.linalg.norm(now, axis=1) * np.linalg.norm(saved, axis=1)
    cosine = float(((now * saved).sum(axis=1) / lengths).min())
    if not cosine >= ALIKE:
        raise GateError(
            f"{wanted.retriever}: in int8 a probe's vector has a cosine of {cosine:.3f} with the "
            f"true one ({ALIKE} is demanded); leave --int8 out"
        )
    return cosine
