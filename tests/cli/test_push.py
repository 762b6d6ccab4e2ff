"""push at the command line, to a local server that stands for the Hugging Face hub."""

from __future__ import annotations

import json
import shutil

import msgspec
import pytest

from dprkit import hub
from dprkit.errors import InputError
from dprkit.models.card_head import card_head, of_validation, with_results
from dprkit.models.retriever import load_retriever
from dprkit.store.manifests import read_manifest, write_manifest
from tests.conftest import call, environment, shell
from tests.hub_server import serving


def eval_results(card, tmp_path):
    """(data set, metric, value) as huggingface_hub reads a card."""
    from huggingface_hub import ModelCard

    path = tmp_path / "card.md"
    path.write_bytes(card)
    data = ModelCard.load(path).data
    found = [(r.dataset_name, r.metric_type, r.metric_value) for r in data.eval_results or ()]
    return data.model_name, found


def test_the_head_of_a_card_has_the_figures_of_the_validation_and_takes_more(tmp_path):
    counts = {"valid": {"questions": 9, "mrr": 0.5}}
    card = card_head("retriever", "retriever", of_validation(counts)) + "# A retriever\n\n---\nx\n"
    assert eval_results(card.encode(), tmp_path) == (
        "retriever",
        [("validation", "mrr", 0.5)],
    )
    task = {"type": "information-retrieval"}
    data = {"type": "nq", "name": "NQ"}
    more = {"task": task, "dataset": data, "metrics": [{"type": "ndcg@10", "value": 0.25}]}
    longer = with_results(card, "retriever", "mine", [more])
    assert longer.endswith("---\n\n# A retriever\n\n---\nx\n")
    assert eval_results(longer.encode(), tmp_path) == (
        "mine",
        [("validation", "mrr", 0.5), ("NQ", "ndcg@10", 0.25)],
    )
    assert with_results("# Mine\n", "reader", "m", []).count("model-index") == 0


def test_the_head_of_a_card_without_one_names_the_library_that_loads_the_model(tmp_path):
    from huggingface_hub import ModelCard

    (tmp_path / "card.md").write_text(with_results("# Mine\n", "reader", "m", [], "transformers"))
    data = ModelCard.load(tmp_path / "card.md").data
    assert (data.library_name, data.pipeline_tag) == ("transformers", "question-answering")


@pytest.mark.parametrize("head", ["foo: [", "- a", "model-index: 3"])
def test_a_head_that_people_broke_is_refused_with_the_name_of_its_file(head):
    with pytest.raises(
        InputError, match=r"^mine/README\.md: its head, .* is not that of a"
    ) as error:
        with_results(f"---\n{head}\n---\n# Mine\n", "reader", "m", [], where="mine/README.md")
    assert "\n" not in str(error.value)


def test_a_metric_that_is_defined_for_no_question_is_not_in_the_card():
    (result,) = of_validation({"valid": {"questions": 9, "mrr": None, "r1": 0.5}})
    assert [metric["name"] for metric in result["metrics"]] == ["r1"]


@pytest.mark.slow
def test_what_is_pushed_is_the_model_and_its_card_has_the_metrics(finished, tmp_path):
    run = finished / "runs/dprkit"
    with serving() as hub:
        more = {"HF_TOKEN": hub.token, "HF_HUB_DISABLE_XET": "1"}
        here = {"env": environment(**hub.environment(tmp_path / "hf"), **more)}
        words = ["push", "tiny", "--model", run / "model", "--results", run / "results"]
        made = shell(*words, "--json", **here)
        assert made.returncode == 0, made.stderr
        assert json.loads(made.stdout)["name"] == "me/tiny"
        assert json.loads(made.stdout)["outputs"] == [f"{hub.url}/me/tiny"]
        files = hub.repos["models/me/tiny"]
        assert len(hub.sent) >= 1
        for name, content in files.items():
            path = tmp_path / "fetched" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        again = shell(*words, **here)
        assert again.returncode == 1
        assert "tiny: is on the hub already; give --update to write into it" in again.stderr
        assert shell(*words, "--update", **here).returncode == 0
        wrong = shell(*words, env=here["env"] | {"HF_TOKEN": "hf_wrong"})
        assert "tiny: the hub does not know the token; make a new one" in wrong.stderr
        none = shell(*words, env=here["env"] | {"HF_TOKEN": ""})
        assert "tiny: no token for the hub; get one at " in none.stderr
    gone = shell(*words, **here)
    assert gone.returncode == 1
    assert "cannot be asked" in gone.stderr
    assert gone.stderr.count("\n") == 1
    ours, theirs = load_retriever(run / "model"), load_retriever(tmp_path / "fetched")
    asked = ["who wrote hamlet"]
    assert (ours.encode_questions(asked) == theirs.encode_questions(asked)).all()
    assert call("info", "--check", tmp_path / "fetched").exit_code == 0
    assert str(finished) not in files["manifest.json"].decode()
    name, found = eval_results(files["README.md"], tmp_path)
    metrics = json.loads((run / "results/metrics.json").read_text())["metrics"]
    assert name == "tiny"
    assert ("test", "answer_recall@5", metrics["answer_recall"]["5"]) in [
        (data, metric, pytest.approx(value, abs=1e-6)) for data, metric, value in found
    ]


def test_an_upload_that_failed_can_be_made_again(monkeypatch):
    from huggingface_hub import constants

    with serving() as server:
        monkeypatch.setenv("HF_TOKEN", server.token)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        server.repos["models/me/begun"] = {".gitattributes": b""}
        server.repos["models/me/whole"] = {".gitattributes": b"", "README.md": b"# Mine\n"}
        assert hub.create("begun", private=True, update=False) == "me/begun"
        with pytest.raises(InputError, match="whole: is on the hub already; give --update"):
            hub.create("whole", private=True, update=False)


def test_metrics_of_another_retriever_are_refused(finished, small_retriever, tmp_path):
    results = finished / "runs/dprkit/results"
    words = ["push", "me/x", "--results", results, "--model"]
    done = call(*words, small_retriever)
    assert done.exit_code == 1
    assert "results: its metrics are of another retriever, " in " ".join(done.stderr.split())
    assert "cannot be" in call(*words, finished / "runs/dprkit/model").stderr  # asked: the hub
    shutil.copytree(results, tmp_path / "results")
    manifest = read_manifest(results)
    inputs = {name: known for name, known in manifest.inputs.items() if name != "index"}
    write_manifest(tmp_path / "results", msgspec.structs.replace(manifest, inputs=inputs))
    done = call("push", "me/x", "--results", tmp_path / "results", "--model", small_retriever)
    told = " ".join(done.stderr.split())
    assert "does not say which retriever its metrics are of" in told
    assert "cannot be" in told


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["push"], "no name given; name the repository, such as me/my-retriever"),
        (["push", "me/x", "--model", "gone"], "gone"),
        (["push", "me/x", "--model", "index"], "index: holds index; push takes a retriever"),
        (["push", "me/x", "--model", "model"], "me/x: the hub (https://huggingface.co) cannot be"),
    ],
)
def test_what_is_refused_before_anything_is_sent(finished, monkeypatch, words, problem):
    monkeypatch.chdir(finished / "runs/dprkit")
    result = call(*words)
    assert result.exit_code == 1
    assert problem in result.stderr
