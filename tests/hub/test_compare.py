import dataclasses
import json

import pandas as pd
import pytest
from huggingface_hub import HfApi

from hf_relvit import cli
from hf_relvit.errors import RelViTError
from hf_relvit.hub import leaderboard as compare
from hf_relvit.hub.runs import collect_files
from hf_relvit.report import readings


@pytest.fixture
def results(study):
    return collect_files(study, "relvit/tiny").results


def variant(results, kind, seed, accuracy, swap):
    """Results of another run: of the kind with that number, with these values."""
    tables = json.loads(json.dumps(results.tables))
    for row in tables["accuracy"]:
        row["accuracy"] = accuracy
    for row in tables["alignment"]:
        row["accuracy"] = swap
    return dataclasses.replace(
        results, config={**results.config, "seed": seed, "images": 1000 + kind}, tables=tables
    ).to_json()


def publish(hub, name, text, file="results.json"):
    api = HfApi(hub.url, token="local-relvit")
    api.create_repo(f"relvit/{name}")
    api.upload_file(path_or_fileobj=text.encode(), path_in_repo=file, repo_id=f"relvit/{name}")
    return f"relvit/{name}"


def command(*words):
    with pytest.raises(SystemExit) as end:
        cli.main([str(word) for word in words])
    return end.value.code


def test_a_table_and_a_plot_over_published_runs_without_their_weights(
    results, hub, tmp_path, capsys
):
    values = [(0, 0, 0.9, 0.8), (0, 1, 0.92, 0.82), (1, 0, 0.7, 0.5), (2, 0, 0.6, 0.3)]
    ids = [publish(hub, f"run-{k}-{s}", variant(results, k, s, a, d)) for k, s, a, d in values]
    ids.append(publish(hub, "plain", "{}", "config.json"))
    assert command("hub", "compare", *ids, "--out", tmp_path / "out") == 0
    out = capsys.readouterr().out
    assert (
        "relvit/plain has no results.json: it was not published with relvit push; left out" in out
    )
    line = next(line for line in out.splitlines() if line.startswith("relvit/run-0-1"))
    assert line.count("0.920 [") == 5
    assert line.endswith("0.820")
    page = (tmp_path / "out" / "comparison.html").read_text()
    for measured in readings.accuracy(results.table("accuracy")):
        if measured.name != "validation":  # of the copies all but the accuracy is that of the run
            assert f"0.920 [{measured.interval}]" in line
            assert f"<td>0.920</td><td>{measured.interval}</td><td>{measured.n}</td>" in page
    assert page.count("<td>relvit/run-0-1</td>") == 5
    assert page.count("data:image/png;base64,") == 1
    assert "http" not in page.replace("http-equiv", "")
    runs = pd.read_parquet(tmp_path / "out" / "discrimination" / "correlation_runs.parquet")
    assert set(runs.group) == {
        "relvit/run-0-0",
        "relvit/run-1-0",
        "relvit/run-2-0",
    }  # seeds are of one kind
    frame = pd.read_parquet(tmp_path / "out" / "discrimination" / "correlation.parquet")
    assert (frame[frame.measure == "pearson"].value > 0.9).all()
    assert (tmp_path / "out" / "discrimination" / "correlation.svg").exists()
    assert not [path for _, path, _ in hub.requests if "safetensors" in path]


def test_a_run_of_ones_own_stands_among_them(results, study, hub):
    published = publish(hub, "run", variant(results, 1, 0, 0.75, 0.5))
    (board,) = compare.compare([published, str(study / "seed0")])
    assert board.frame.run.unique().tolist() == [published, str(study / "seed0")]
    assert board.correlation is None
    assert "needs 3 kinds of model with alignments, here 2" in board.text()


def test_tasks_are_not_mixed_and_other_stimuli_are_mentioned(results, hub):
    rmts = dataclasses.replace(results, config={**results.config, "task": "rmts"})
    other = dataclasses.replace(results, data={**results.data, "version": "2.0.0"})
    ids = [
        publish(hub, name, r.to_json()) for name, r in {"a": results, "b": rmts, "c": other}.items()
    ]
    boards = compare.compare(ids)
    assert [board.task for board in boards] == ["discrimination", "rmts"]
    assert (
        "tested on different stimuli (quick-32, version 1.0.0; quick-32, version 2.0.0)"
        in boards[0].text()
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda values: values["tables"]["accuracy"][0].update(accuracy=7),
            "Expected `float` <= 1.0 at `.tables.accuracy[0].accuracy`",
        ),
        (
            lambda values: values["tables"]["accuracy"][0].update(n=True),
            "Expected `int`, got `bool`",
        ),
        (lambda values: values["tables"]["accuracy"][0].update(split=["x"]), "accuracy[0].split"),
        (
            lambda values: values["tables"]["accuracy"][0].update(split="\x1b[2J"),
            "accuracy[0].split",
        ),
        (lambda values: values["data"].update(version="\x1b[2J"), "data.version"),
        (lambda values: values["tables"].update(accuracy=[{}]), "missing required field"),
        (lambda values: values["tables"]["alignment"][0].pop("layer"), "field `layer`"),
        (lambda values: values.update(format=99), "expected format 1"),
        (lambda values: values.update(surprise=1), "surprise"),
        (lambda values: values.update(config=[]), "got a list at `.config"),
        (lambda values: values["config"].update(task="<script>"), "task '<script>'"),
        (
            lambda values: values["attention"].update(x="y"),
            "Expected `float`, got `str` at `.attention",
        ),
    ],
)
def test_results_that_cannot_be_are_refused(results, hub, change, reason):
    values = json.loads(results.to_json())
    change(values)
    with pytest.raises(
        RelViTError, match="the published results of relvit/bad cannot be read"
    ) as error:
        compare.compare([publish(hub, "bad", json.dumps(values))])
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "no json", "[" * 100_000, '{"format": 1}', "null"])
def test_other_files_of_that_name_are_refused(hub, text):
    with pytest.raises(RelViTError, match="the published results of relvit/bad cannot be read"):
        compare.compare([publish(hub, "bad", text or " ")])


def test_a_huge_file_is_refused_by_its_listed_size(results, hub, monkeypatch):
    monkeypatch.setattr(compare, "MAX_BYTES", 1000)
    run = publish(hub, "huge", results.to_json())
    hub.requests.clear()
    with pytest.raises(RelViTError, match=r"results\.json of relvit/huge has"):
        compare.compare([run])
    assert not [path for _, path, _ in hub.requests if "/resolve/" in path]


def test_nothing_to_compare_is_one_line(hub, capsys):
    ids = [publish(hub, "plain", "{}", "config.json")]
    assert command("hub", "compare", *ids) == 2
    assert "no published results in relvit/plain" in capsys.readouterr().err
    assert command("hub", "compare", "relvit/nothing") == 2
    assert "relvit/nothing: not found on the Hub" in capsys.readouterr().err
    assert command("hub", "compare", "../../etc/passwd") == 2
    assert "is no name of a repository" in capsys.readouterr().err
