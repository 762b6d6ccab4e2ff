import math
import os
import pickle
import pickletools
import random
import struct

import numpy as np
import pytest
import torch

from dprkit.data.unpickling import INLINE
from dprkit.embeddings.foreign_files import ROWS, blocks
from dprkit.embeddings.foreign_pickles import values
from dprkit.errors import FormatError, InputError

NEW, OLD = b"numpy._core.", b"numpy.core."


def pairs(count=5, dim=3):
    rows = np.random.default_rng(1).standard_normal((count, dim)).astype(np.float32)
    return [(f"id {i}", row) for i, row in enumerate(rows)]


def written(tmp_path, value, protocol=4, name="shard.pkl"):
    path = tmp_path / name
    path.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, protocol))
    return path


def as_old_numpy(data):
    """The same pickle with the names that numpy had before version 2."""
    for module in (b"multiarray", b"numeric"):
        new, old = NEW + module, OLD + module
        data = data.replace(bytes([len(new)]) + new, bytes([len(old)]) + old)
        data = data.replace(b"c" + new + b"\n", b"c" + old + b"\n")
    assert NEW not in data
    return data


def read(path):
    """ids, vectors (N, D)"""
    found = list(blocks(path))
    return [i for b in found for i in b.ids], np.concatenate([b.vectors for b in found])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("old", [False, True])
def test_dprs_pairs_are_read_whatever_wrote_them(protocol, old, tmp_path):
    data = pickle.dumps(pairs(2500), protocol)
    path = written(tmp_path, as_old_numpy(data) if old else data)
    ids, vectors = read(path)
    assert ids == [id_ for id_, _ in pairs(2500)]
    np.testing.assert_array_equal(vectors, [row for _, row in pairs(2500)])


def test_more_fields_in_a_pair_and_ids_that_are_numbers_are_read(tmp_path):
    title = "one title that many share"
    value = [(i if i % 2 else np.int64(i), row, title) for i, (_, row) in enumerate(pairs())]
    ids, vectors = read(written(tmp_path, value))
    assert ids == ["0", "1", "2", "3", "4"]
    np.testing.assert_array_equal(vectors, [row for _, row in pairs()])


@pytest.mark.parametrize("rows", [5, ROWS + 3])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("ids_first", [False, True])
def test_tevatrons_and_contrievers_arrays_are_read(rows, order, ids_first, tmp_path):
    table = np.array([row for _, row in pairs(rows, 8)], np.float16, order=order)
    names = [f"doc{i}" for i in range(rows)]
    assert (table.nbytes > INLINE) == (rows > 5)  # in the file, and in memory
    path = written(tmp_path, (names, table) if ids_first else (table, names))
    ids, vectors = read(path)
    assert ids == names
    assert {b.kind for b in blocks(path)} == {"tevatron"}
    np.testing.assert_array_equal(vectors, table)


def test_tevatrons_ids_as_an_array_of_text_are_read(tmp_path):
    table = np.ones((2, 3), np.float32)
    assert read(written(tmp_path, (table, np.array(["é", "bb"]))))[0] == ["é", "bb"]


@pytest.mark.parametrize("rows", [5, 9000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_dpr_scales_tensors_are_read(rows, dtype, tmp_path):
    tensor = torch.randn(rows, 8).to(dtype)
    found = list(blocks(written(tmp_path, tensor)))
    assert {(b.kind, b.ids) for b in found} == {("dpr-scale", None)}
    assert [b.first for b in found] == list(range(0, rows, ROWS))
    expected = (tensor.float() if dtype == torch.bfloat16 else tensor).numpy()
    np.testing.assert_array_equal(np.concatenate([b.vectors for b in found]), expected)


# --- hostile and damaged files --------------------------------------------------------------------


class Run:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def test_nothing_in_a_pickle_is_run(tmp_path):
    mark = tmp_path / "mark"
    hostile = [
        Run(os.system, f"touch {mark}"),
        Run(eval, f"open({str(mark)!r}, 'w')"),
        Run(np.save, str(mark), np.ones(1)),
        Run(getattr, "x", "y"),
    ]
    for value in hostile:
        for whole in (value, [("1", value)], (value, ["1"])):
            with pytest.raises(FormatError, match=r"byte \d+: reading it would run '.*', which"):
                list(values(written(tmp_path, whole)))
    assert not list(tmp_path.glob("mark*"))


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.array([{}, "x"], object), "numbers of the kind 'O8'"),
        (np.zeros(2, [("a", "f4"), ("b", object)]), "numbers of the kind 'V12'"),
        (np.zeros(2, complex), "numbers of the kind 'c16'"),
    ],
)
def test_arrays_of_objects_are_refused(array, problem, tmp_path):
    with pytest.raises(FormatError, match=problem):
        list(values(written(tmp_path, [("1", array)])))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"]r\xff\xff\xff\xff" + b"K\1.", None),  # a place for a note that would take 32 GB
        (b"(" * 100_000, "nested too deep"),
        (b"]" * 100_000, "nested too deep"),
        (b"((" * 30_000 + b"t" * 60_000 + b".", "holds tuple"),
        (b")" + b"\x85" * 200_000 + b".", "holds tuple"),
        (b"\x8e" + struct.pack("<Q", 1 << 62) + b"abc.", "cut short"),
        (b"X" + struct.pack("<I", (1 << 32) - 1) + b"abc.", "cut short"),
        (b"\x8d" + struct.pack("<Q", 1 << 62) + b"abc.", "has no place"),
        (b"cnumpy\nload\n.", "would run 'numpy.load'"),
        (b"c" + b"x" * 1_000_000 + b"\n.", "would run"),
        (b"h\x05.", "a damaged pickle"),
        (b"K\1K\2b.", "a damaged pickle"),
        (b"cnumpy\nndarray\n)R.", "a damaged pickle"),
        (b"cnumpy\ndtype\n}b.", "a damaged pickle"),
        (b"(cnumpy\ndtype\n]b.", "a damaged pickle"),
        (b"cnumpy\nndarray\n)\x81.", "has no place"),
        (b"]]]aa.", "a list of something else"),
        (b".", "holds nothing"),
        (b"", "cut short"),
        (b"R", "a damaged pickle"),
        (b"0.", "a damaged pickle"),
        (b"X\2\0\0\0\xff\xfe.", "a damaged pickle"),
    ],
)
def test_a_hostile_pickle_ends_in_one_line(data, problem, tmp_path):
    path = written(tmp_path, b"\x80\x04" + data)
    if problem is None:
        list(values(path))
        return
    with pytest.raises(FormatError, match=problem) as caught:
        list(blocks(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_an_array_that_claims_more_than_it_has_is_refused(tmp_path):
    for shape in (b"M\xff\xff\x85", b"J\xff\xff\xff\xff\x85", b"K\1M\0\1\x86"):
        data = pickle.dumps([("1", np.ones(3, np.float32)), ("2", np.ones(3, np.float32))], 3)
        path = written(tmp_path, data.replace(b"K\3\x85", shape))
        assert shape in path.read_bytes()
        with pytest.raises(FormatError, match="shape"):
            list(blocks(path))


def test_a_table_of_views_is_refused(tmp_path):
    with pytest.raises(FormatError, match="a view of another"):
        list(blocks(written(tmp_path, torch.ones(4, 6)[:, :3])))


def test_chunks_of_passages_are_refused(tmp_path):
    value = (np.ones((2, 3), np.float32), [("1", 0), ("1", 1)])
    with pytest.raises(FormatError, match="is it of chunks of passages"):
        list(blocks(written(tmp_path, value)))


@pytest.mark.parametrize(
    "value", [pairs(3), (np.ones((3, 2), np.float32), ["1", "2", "3"]), torch.ones(2, 3)]
)
def test_a_file_cut_anywhere_says_so(value, tmp_path):
    whole = pickle.dumps(value, 4)
    for length in range(1, len(whole)):
        path = written(tmp_path, whole[:length])
        with pytest.raises(InputError) as caught:
            list(blocks(path))
        assert "\n" not in str(caught.value)


def test_a_large_array_that_is_cut_short_says_so(tmp_path):
    whole = pickle.dumps((np.ones((9000, 8), np.float32), [str(i) for i in range(9000)]), 4)
    for length in (200_000, 289_000, len(whole) - 1):
        with pytest.raises(FormatError, match="cut short"):
            list(blocks(written(tmp_path, whole[:length])))


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bytes_end_in_one_line_or_in_other_vectors(seed, tmp_path):
    chance = random.Random(seed)
    whole = [pickle.dumps(pairs(3), 4), pickle.dumps(torch.ones(2, 3), 4)][seed % 2]
    for _ in range(250):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(1, len(data))] = chance.randrange(256)
        try:
            found = list(blocks(written(tmp_path, bytes(data))))
        except InputError as error:
            assert len(str(error)) < 500
        else:
            assert all(math.prod(b.vectors.shape) < 1000 for b in found)


def test_a_frame_that_promises_more_than_there_is_is_refused(tmp_path):
    data = pickle.dumps(pairs(), 4)
    assert data[2:3] == pickle.FRAME
    longer = data[:3] + struct.pack("<Q", len(data)) + data[11:]
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads(longer)
    with pytest.raises(FormatError, match="cut"):
        read(written(tmp_path, longer))


def test_an_npy_header_that_is_no_python_is_refused(tmp_path):
    np.save(tmp_path / "v.npy", np.zeros((3, 8), np.float32))
    data = (tmp_path / "v.npy").read_bytes().replace(b"(3, 8), }", b"(3,}}}}}}")
    with pytest.raises(FormatError, match="no array of numbers"):
        list(blocks(written(tmp_path, data, name="v.npy"), in_order=True))


def test_what_refers_back_to_what_was_never_noted_is_refused(tmp_path):
    data = pickle.dumps(pairs(), 2)
    name = b"_reconstruct\n" + pickle.BINPUT
    at = data.index(name) + len(name)
    moved = data[:at] + bytes([data[at] + 60]) + data[at + 1 :]
    with pytest.raises(pickle.UnpicklingError, match="Memo value not found"):
        pickle.loads(moved)
    with pytest.raises(FormatError, match="damaged"):
        read(written(tmp_path, moved))


def test_a_pickle_without_the_notes_nobody_needs_is_read(tmp_path):
    ids, vectors = read(written(tmp_path, pickletools.optimize(pickle.dumps(pairs(), 2))))
    assert ids == [id_ for id_, _ in pairs()]
    np.testing.assert_array_equal(vectors, [row for _, row in pairs()])
