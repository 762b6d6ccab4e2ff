"""MaxSim at the speed of the processor: what late interaction scores with when it searches.

The score of a question and a passage is the sum, over the question's token vectors, of the largest
inner product with a token vector of the passage (Khattab and Zaharia, ColBERT, arXiv 2004.12832,
section 3.2). One matrix product takes a block of passages and the token vectors of as many
questions as there are, so that the product is still in the processor's cache when the largest
numbers are looked for.

`maxsim` works in float32 and decides; `maxsim_int8` takes 8-bit numbers, which processors with
AVX-512 VNNI multiply several times as fast, and finds what is worth deciding about. Sums are in
float32. Training has its own, with gradients (dprkit.models.maxsim_scoring).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dprkit.cpu_cores import thread_count
from dprkit.models.token_vectors import Int8Tokens, TokenVectors, bounds_of, quantized

if TYPE_CHECKING:
    from torch import Tensor

_ROWS = 1024
"""Token vectors of questions in one product, at most; more if one question has more."""
_CACHED = 1 << 17
"""Numbers that a product has, about: half of a core's second-level cache."""
_SHORTEST, _LONGEST = 128, 2048
"""Token vectors of a block of passages: bounds of what `_CACHED` suggests."""
_STEP = 32
"""Blocks are rounded up to a multiple: oneDNN compiles its float32 product for each length."""
_FEW = 64
"""Up to so few rows of questions, the product lies the other way round."""
_SMALL = 1 << 27
"""Multiplications that are not worth a second thread: a millisecond or two."""


@cache
def has_fast_int8() -> bool:
    """Whether this processor multiplies 8-bit numbers much faster than float32: AVX-512 VNNI."""
    import torch

    return bool(torch.backends.mkldnn.is_available()) and bool(  # type: ignore[no-untyped-call]
        torch.cpu.get_capabilities().get("avx512_vnni", False)
    )


def maxsim(
    questions: TokenVectors, passages: TokenVectors | Int8Tokens, threads: int | None = None
) -> np.ndarray:
    """(Q, P) float32: the score of each question with each passage, by products in float32.

    Passages may be in float16 or 8 bits: a block at a time is widened. A passage without a token
    vector scores -inf; a question without one, 0 with all others. `threads`: None is as many as
    `cpu_cores.thread_count` says. Memory: besides the scores some 5 MB a thread.
    """
    return _scores(questions, passages, _Float32(), threads)


def maxsim_int8(
    questions: TokenVectors, passages: Int8Tokens, threads: int | None = None
) -> np.ndarray:
    """(Q, P) float32: as `maxsim`, but with questions in 8 bits too, so that scores are near.

    On a processor without VNNI that would take longer, and the scores are those of `maxsim`.
    """
    one = passages.dim == 1  # of which torch 2.13 makes wrong products in 8 bits
    way = _Int8() if has_fast_int8() and not one else _Float32()
    return _scores(questions, passages, way, threads)


def off_by_int8(questions: TokenVectors, passages: Int8Tokens) -> np.ndarray:
    """(Q,): how far at most a score of `maxsim_int8` is from that of `maxsim`, but for rounding.

    For token vectors of passages of norm 1 or less. The vectors of a question are rounded to 8
    bits; and the scale of a passage's vector is off by half a unit, which is multiplied by a
    product with its numbers, of norm 127 sqrt(D) at most.
    """
    small = quantized(questions)
    norms = np.linalg.norm(small.values.astype(np.float32), axis=1) * small.scales
    off = np.linalg.norm(questions.values - small.floats().values, axis=1)
    unit = float(passages.scales.max(initial=0)) / _steps(questions.dim)
    off += norms * (0.5 * unit * 127 * questions.dim**0.5)
    askers = np.repeat(np.arange(len(questions)), questions.counts)
    summed: np.ndarray = np.bincount(askers, weights=off, minlength=len(questions))
    return summed


# --- products -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rows:
    """Rows as a product takes them, (R, D); in 8 bits each stands for values * scales * unit."""

    values: Tensor
    scales: Tensor | None = None
    """(R,)."""
    unit: float = 1.0


class _Products(Protocol):
    """A way to multiply rows of questions and of passages."""

    def questions(self, vectors: TokenVectors) -> _Rows:
        """The rows of questions."""

    def passages(self, passages: TokenVectors | Int8Tokens, begin: int, end: int) -> _Rows:
        """Rows `begin` to `end` of passages."""

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        """left right^T, (A, D) and (B, D) -> (A, B)."""


class _Float32:
    def questions(self, vectors: TokenVectors) -> _Rows:
        return _Rows(_tensor(vectors.values).float())

    def passages(self, passages: TokenVectors | Int8Tokens, begin: int, end: int) -> _Rows:
        values = _tensor(passages.values[begin:end]).float()
        if isinstance(passages, Int8Tokens):
            values *= _tensor(passages.scales[begin:end])[:, None]
        return _Rows(values)

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        from dprkit.models import linear

        return linear.product(left, right)


class _Int8:
    """Products of 8-bit numbers, exact in int32; passages' scales are rounded to integers too.

    So products are scaled in place, and only the largest become float32.
    """

    def questions(self, vectors: TokenVectors) -> _Rows:
        small = quantized(vectors)
        return _Rows(_tensor(small.values), _tensor(small.scales))

    def passages(self, passages: TokenVectors | Int8Tokens, begin: int, end: int) -> _Rows:
        assert isinstance(passages, Int8Tokens)
        scales = passages.scales[begin:end]
        unit = max(float(scales.max()), float(np.finfo(np.float32).tiny)) / _steps(passages.dim)
        whole = np.rint(scales / unit).astype(np.int32)
        return _Rows(_tensor(passages.values[begin:end]), _tensor(whole), unit)

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        import torch

        return torch._int_mm(left, right.T)


def _steps(dim: int) -> int:
    """The most that every product of two rows of 8 bits can be multiplied by, within int32."""
    return (2**31 - 1) // (127 * 127 * dim)


def _largest(
    multiply: _Products, questions: _Rows, passages: _Rows, bounds: np.ndarray
) -> np.ndarray:
    """(P, R): of the products of each row of the questions, the largest in each passage.

    Passage i has rows bounds[i] to bounds[i + 1] of `passages`.
    """
    import torch

    if len(questions.values) <= _FEW:
        products = multiply.product(questions.values, passages.values)
        if passages.scales is not None:
            products *= passages.scales
        within = products.numpy()[:, : bounds[-1]]
        largest = np.maximum.reduceat(within, bounds[:-1], axis=1).T
    else:
        products = multiply.product(passages.values, questions.values)
        if passages.scales is not None:
            products *= passages.scales[:, None]
        rows = products.new_empty(len(bounds) - 1, products.shape[1])
        for row, (begin, end) in enumerate(pairwise(bounds.tolist())):
            torch.amax(products[begin:end], 0, out=rows[row])
        largest = rows.numpy()
    if questions.scales is None:
        return largest
    scaled: np.ndarray = largest.astype(np.float32) * (questions.scales * passages.unit).numpy()
    return scaled


def _tensor(array: np.ndarray) -> Tensor:
    import torch

    return torch.from_numpy(array if array.flags.writeable else array.copy())


# --- all pairs ----------------------------------------------------------------------------------


def _scores(
    questions: TokenVectors,
    passages: TokenVectors | Int8Tokens,
    multiply: _Products,
    threads: int | None,
) -> np.ndarray:
    """(Q, P): questions and passages without a row are left out, and get what is theirs."""
    if questions.dim != passages.dim:
        raise ValueError(f"questions have {questions.dim} dimensions, passages {passages.dim}")
    scores = np.zeros((len(questions), len(passages)), np.float32)
    asked, some = questions.counts > 0, passages.counts > 0
    scores[:, ~some] = -np.inf
    if not asked.any() or not some.any():
        return scores
    whole = asked.all() and some.all()
    inner = scores if whole else np.empty((asked.sum(), some.sum()), np.float32)
    q_bounds, p_bounds = bounds_of(questions.counts[asked]), bounds_of(passages.counts[some])
    parts = _parts(TokenVectors(questions.values, q_bounds), multiply)
    widest = max(len(part.rows.values) for part in parts)
    blocks = _whole_texts(p_bounds, min(max(_CACHED // widest, _SHORTEST), _LONGEST))
    scan = partial(_scan, passages, p_bounds, parts, multiply, inner)
    work = len(questions.values) * len(passages.values) * passages.dim
    _together(scan, blocks, 1 if work < _SMALL else threads or thread_count())
    if not whole:
        scores[np.ix_(asked, some)] = inner
    return scores


@dataclass(frozen=True)
class _Part:
    """Questions `begin` to `end`: their rows, and where each one's begin."""

    begin: int
    end: int
    rows: _Rows
    starts: np.ndarray


def _parts(questions: TokenVectors, multiply: _Products) -> list[_Part]:
    spans = _whole_texts(questions.bounds, _ROWS)
    each = [(begin, end, questions.span(begin, end)) for begin, end in spans]
    return [_Part(b, e, multiply.questions(some), some.bounds[:-1]) for b, e, some in each]


def _whole_texts(bounds: np.ndarray, rows: int) -> list[tuple[int, int]]:
    """Consecutive texts, from and to, with at most `rows` rows together, or one text alone."""
    spans, begin = [], 0
    while begin < len(bounds) - 1:
        end = int(np.searchsorted(bounds, bounds[begin] + rows, side="right")) - 1
        spans.append((begin, max(end, begin + 1)))
        begin = spans[-1][1]
    return spans


def _scan(
    passages: TokenVectors | Int8Tokens,
    bounds: np.ndarray,
    parts: list[_Part],
    multiply: _Products,
    scores: np.ndarray,
    blocks: Iterable[tuple[int, int]],
) -> None:
    """What one thread does: score the blocks of passages that are next, until none is."""
    for begin, end in blocks:
        places = bounds[begin : end + 1]
        # A few rows of the neighbours are multiplied too, for a length that came before.
        length = -(-int(places[-1] - places[0]) // _STEP) * _STEP
        first = max(0, min(int(places[0]), int(bounds[-1]) - length))
        rows = multiply.passages(passages, first, first + length)
        for part in parts:
            largest = _largest(multiply, part.rows, rows, places - first)
            sums = np.add.reduceat(largest, part.starts, axis=1, dtype=np.float32)
            scores[part.begin : part.end, begin:end] = sums.T


# --- threads ------------------------------------------------------------------------------------


def _together(scan: partial[None], blocks: list[tuple[int, int]], threads: int) -> None:
    """Share the blocks among threads, each with products of its own in one thread."""
    left = iter(blocks)  # threads may call next() on one list's iterator
    with _one_thread_each() as alone:
        if min(threads, len(blocks)) == 1:
            alone()
            scan(left)
            return
        with ThreadPoolExecutor(threads, initializer=alone) as pool:
            for done in [pool.submit(scan, left) for _ in range(threads)]:
                done.result()


class _Held:
    """How many calls hold torch to one thread, and how many it had before."""

    lock = threading.Lock()
    holders = 0
    before = 1


@contextmanager
def _one_thread_each() -> Iterator[partial[None]]:
    """Yields what makes torch's operations run in the thread that calls it.

    torch's number is that of the calling thread, and that which new threads begin with.
    """
    import torch

    with _Held.lock:
        if not _Held.holders:
            _Held.before = torch.get_num_threads()
        _Held.holders += 1
    try:
        yield partial(torch.set_num_threads, 1)
    finally:
        with _Held.lock:  # a new thread begins with the number that is set here, and may ask for it
            _Held.holders -= 1
            torch.set_num_threads(_Held.before)
