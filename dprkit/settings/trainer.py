"""The settings of every training: how it learns, on what machine, and when its state is saved."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from dprkit.settings.fields import Above0, AtLeast0, Count, Positive, Share, about
from dprkit.settings.shared import LeftOut

Every = Annotated[str, Meta(pattern=r"^([1-9][0-9]*[smh]?|never)$")]
OnSteps = Annotated[str, Meta(pattern=r"^([1-9][0-9]*|epoch|never)$")]
Texts = Annotated[str, Meta(pattern=r"^([1-9][0-9]*|auto)$")]
Fraction = Annotated[float, Meta(gt=0, le=1)]


class TrainerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the commands that train have in common.

    Where no sentence is here, each command has its own.

    Batches:
        batch_size: Questions in an optimizer step, over all processes.
        chunk_size: Passages in a forward pass. The gradient is cached, so a batch of any size
            fits in the memory that a chunk takes; auto chooses the chunk by the free memory
            (default: the whole batch in one pass, without the cache).

    Optimisation:
        max_epochs: Times that training sees the training files.
        max_steps: Stop after this many optimizer steps (default: no limit).
        lr: Highest learning rate.
        schedule: How the learning rate changes after the warm-up.
        warmup: Optimizer steps in which the learning rate rises to --lr; a value below 1 is a
            share of all steps.
        layer_decay: Learning rate of each layer as a share of the rate of the layer above it; 1
            gives all layers the same rate.
        weight_decay: Weight decay of AdamW; biases and norms never decay.
        max_grad_norm: Clip the gradient to this norm; 0 does not clip.

    Machine:
        num_workers: Processes that tokenise the next batches; with 0 a thread of the trainer
            does it.
        num_processes: Processes on this host that share the work; torchrun and accelerate
            launch start their own processes.
        precision: Number type of the encoder's matrix products; the weights stay fp32; auto is
            bf16 where this machine multiplies it faster, and fp32 elsewhere. None of the types
            was ever tested on a GPU.
        compile: Compile the encoder with torch.compile.
        activation_checkpointing: Keep only the input of each layer in memory and compute its
            inner values a second time, which saves memory and takes longer.

    Validation:
        valid_every: When to validate: after every epoch, after this many optimizer steps, or
            never.

    Checkpoints:
        checkpoint_every: When to save the state of training: after this many optimizer steps,
            or after a time such as 30s, 10m or 1h; never saves it only after validations and
            when training is stopped.
        keep_checkpoints: Saved states to keep while training runs.
        tensorboard: Also write TensorBoard events (extra: tensorboard).
    """

    train_file: tuple[str, ...] = ()
    valid_file: str | None = None
    leave_out: LeftOut = None
    output_dir: str | None = None
    init: str | None = None

    dropout: Share | None = None

    batch_size: Positive | None = None
    chunk_size: Annotated[Texts | None, about(resumable=True)] = None
    seed: Count = 0

    max_epochs: Annotated[Count | None, about(resumable=True)] = None
    max_steps: Annotated[Positive | None, about(resumable=True)] = None
    lr: Above0 | None = None
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: AtLeast0 = 0.1
    layer_decay: Fraction = 1.0
    weight_decay: AtLeast0 = 0.0
    max_grad_norm: AtLeast0 = 2.0

    num_workers: Annotated[Count, about(harmless=True)] = 0
    num_processes: Annotated[Positive, about(harmless=True)] = 1
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = "fp32"
    compile: bool = False
    activation_checkpointing: bool = False

    valid_every: OnSteps = "epoch"
    best_by: str = "loss"
    patience: Positive | None = None

    checkpoint_every: Annotated[Every, about(harmless=True)] = "10m"
    keep_checkpoints: Annotated[Positive, about(harmless=True)] = 1
    tensorboard: Annotated[bool, about(harmless=True)] = False
