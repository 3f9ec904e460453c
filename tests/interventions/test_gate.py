"""The gate before Gradio: allowed routes, bounded calls, no token, no proxy on the way to itself."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hf_relvit.spaces.interventions import gate

pytest.importorskip("gradio")  # the extra "demo", which brings httpx
httpx = pytest.importorskip("httpx")


async def passed(scope, receive, send):
    """An application that answers every request, with what it got."""
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def ask(method: str, path: str, *, waiting=(), **options) -> httpx.Response:
    gated = gate.Gate(passed, lambda: waiting, lambda: (0, 1))

    async def asked():
        transport = httpx.ASGITransport(gated, client=("10.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://space") as client:
            return await client.request(method, path, **options)

    return asyncio.run(asked())


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gradio_api/run-history/buckets"),
        ("POST", "/gradio_api/run-history/connect"),
        ("GET", "/monitoring/summary"),
        ("GET", "/gradio_api/file=/etc/passwd"),
        ("GET", "/gradio_api/proxy=http://elsewhere"),
        ("POST", "/gradio_api/run/react"),
        ("POST", "/gradio_api/call/turned"),
        ("POST", "/login"),
        ("GET", "/a-route-of-a-later-version"),
        ("DELETE", "/"),
        ("POST", "/"),
        ("GET", "/assets/"),
    ],
)
def test_what_was_not_allowed_is_not_there(method, path):
    assert ask(method, path).status_code == 404


@pytest.mark.parametrize(
    "path", ["/", "/config", "/assets/index.js", "/gradio_api/info", "/gradio_api/queue/data?a=b"]
)
def test_the_page_is_there(path):
    assert ask("GET", path).status_code == ask("HEAD", path).status_code == 200


def test_every_visitor_has_a_share_of_a_bounded_queue():
    call = {"json": {"fn_index": 1, "data": []}}
    join = "/gradio_api/queue/join"
    one = ["10.0.0.1"] * gate.MAX_WAITING_EACH
    others = [f"10.0.1.{i % 100}" for i in range(gate.MAX_WAITING)]
    assert ask("POST", join, waiting=one[1:], **call).status_code == 200
    for waiting, status, sentence in ((one, 429, gate.TOO_MANY), (others, 503, gate.BUSY)):
        for path in (join, "/gradio_api/call/react"):
            refused = ask("POST", path, waiting=waiting, **call)
            assert refused.status_code == status and refused.json() == {"detail": sentence}
    assert ask("GET", "/gradio_api/queue/data", waiting=others).status_code == 200


@pytest.mark.parametrize(
    "body",
    [b"no json", b"[]", b"5", b"null", b'{"fn_index": 7}', b'{"fn_index": "1"}', b"[" * 5000],
)
def test_only_functions_of_the_page_are_called(body):
    assert ask("POST", "/gradio_api/queue/join", content=body).status_code == 422


def test_a_call_arrives_whole():
    call = json.dumps({"fn_index": 0, "data": ["x" * 1000]}).encode()
    assert ask("POST", "/gradio_api/queue/join", content=call).content == call


def test_large_calls_and_those_of_unknown_size_are_refused():
    async def pieces():
        yield b"{}"

    for content in (b"x" * (gate.MAX_BODY + 1), pieces()):
        assert ask("POST", "/gradio_api/queue/join", content=content).status_code == 413


@pytest.mark.parametrize("first", ["", "from huggingface_hub import get_token; "])
def test_the_process_has_no_token(first, tmp_path):
    """Whether huggingface_hub was imported before or after: none in the environment, none in the file of a login."""
    (tmp_path / "token").write_text("hf_" + "owner" * 7)
    names = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
    environment = {**os.environ, "HF_HOME": str(tmp_path)}
    code = (
        f"{first}from hf_relvit.spaces.interventions.gate import forget_tokens; {{}}"
        "from huggingface_hub import get_token; from huggingface_hub.utils import build_hf_headers; "
        "print(get_token(), 'authorization' in build_hf_headers())"
    )
    for extra in ({}, *({name: "hf_" + "other" * 7} for name in names)):
        done = subprocess.run(
            [sys.executable, "-c", code.format("forget_tokens(); ")],
            env=environment | extra,
            capture_output=True,
            text=True,
        )
        assert done.stdout.split() == ["None", "False"], done.stderr
    kept = subprocess.run(
        [sys.executable, "-c", code.format("")], env=environment, capture_output=True, text=True
    )
    assert kept.stdout.split()[0].startswith("hf_owner")  # without forgetting there is one


@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
def test_no_proxy_on_the_way_to_itself(monkeypatch, variable):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv(variable, ".corp.example, 10.0.0.9")
    gate.reach_itself("10.1.1.1")
    names = os.environ["no_proxy"].split(",")
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"]
    assert names == [".corp.example", "10.0.0.9", "localhost", "127.0.0.1", "10.1.1.1"]


def test_gradio_does_not_take_our_folder_for_the_hubs_package():
    """Started where the folder `spaces` lies, as in a clone: `import spaces` must fail as if it were not installed."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import spaces"
    parent = Path(gate.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code, str(parent)], capture_output=True, text=True)
    assert "ImportError: not the package `spaces` of the Hub" in done.stderr
