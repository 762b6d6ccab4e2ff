"""Token pooling: fewer token vectors a passage, by hierarchical clustering of those it has.

Ward's clusters of a passage's token vectors by their cosine distance, each of which becomes its
mean, of norm 1. The first vector, [CLS], stays as it is. Clavié, Chaffin and Adams 2024, "Reducing
the Footprint of Multi-Vector Retrieval with Minimal Performance Impact via Token Pooling", section
3; the same clusters as sentence-transformers 6's HierarchicalTokenPooling.
"""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from dprkit.models.token_vectors import TokenVectors, bounds_of

PROTECTED = 1
"""Token vectors at the front of a passage that are not pooled."""


def pooled(tokens: TokenVectors, factor: int) -> TokenVectors:
    """Of N texts with token vectors of norm 1, about 1 / `factor` as many, of norm 1.

    A text of L vectors keeps 1 + max(1, (L - 1) // factor); what it gets does not depend on the
    texts beside it.
    """
    if factor == 1:
        return tokens
    from scipy.sparse import csr_array

    with threadpool_limits(1, "blas"):  # for products this small threads would wait for each other
        clusters = [_clusters(text, factor) for text in tokens]
    counts = np.array([int(labels.max(initial=-1)) + 1 for labels in clusters], np.int64)
    shifts = np.repeat(bounds_of(counts)[:-1], tokens.counts)
    labels = np.concatenate([np.empty(0, np.int64), *clusters]) + shifts
    # Row c of the matrix has ones where the vectors of cluster c are, in the order of the text.
    order, sizes = np.argsort(labels, kind="stable"), np.bincount(labels, minlength=counts.sum())
    ones = np.ones(len(labels), np.float32)
    matrix = csr_array((ones, order, bounds_of(sizes)), shape=(len(sizes), len(labels)))
    sums = matrix @ tokens.values
    norms = np.sqrt(np.square(sums).sum(axis=1, keepdims=True))
    return TokenVectors.of_counts(sums / np.maximum(norms, 1e-12), counts)


def _clusters(text: np.ndarray, factor: int) -> np.ndarray:
    """(L,) the cluster of each of the vectors (L, D) of a text; the protected have their own."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    own, rest = np.arange(min(PROTECTED, len(text))), text[PROTECTED:]
    wanted = max(len(rest) // factor, 1)
    if wanted >= len(rest):
        return np.arange(len(text))
    distances = squareform(np.clip(1 - rest @ rest.T, 0, 2), checks=False)
    labels = fcluster(linkage(distances, method="ward"), wanted, criterion="maxclust")
    # Where distances are equal there may be fewer clusters, with gaps between their numbers.
    return np.concatenate([own, len(own) + np.unique(labels, return_inverse=True)[1]])
