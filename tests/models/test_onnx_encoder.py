import pytest

from dprkit.errors import InputError
from dprkit.models.forward_batches import padded
from dprkit.models.onnx_copies import find_copy
from dprkit.models.onnx_encoder import OnnxEncoder


def test_a_text_of_each_length_is_padded_with_what_padding_is(retriever):
    encoder = OnnxEncoder(find_copy(retriever, "question").path, padding=7)
    rows, mask = padded([[1, 2, 3], [4]], encoder.padding)
    assert rows.tolist() == [[1, 2, 3], [4, 7, 7]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert rows.dtype == mask.dtype == "int64"


def test_a_graph_that_is_none_is_told_in_one_line(retriever, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(InputError, match=r"model\.onnx: onnxruntime cannot read it") as told:
        OnnxEncoder(tmp_path / "model.onnx", 0)
    assert "\n" not in str(told.value)
