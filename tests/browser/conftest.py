"""The Space as `relvit demo` starts it, and a real Chromium that watches for errors and for requests that leave."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
)
_QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def space(tmp_path_factory):
    """Address of the running Space."""
    with serving(tmp_path_factory.mktemp("space")) as (url, _, _):
        yield url


@contextmanager
def serving(folder: Path, **variables: str):
    """Start the Space and end it by SIGTERM: its address, its process, its log.

    Args:
        folder: for the log and uploads.
        variables: of its environment.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "log.txt"
    code = f"from hf_relvit.cli import main; main(['demo', '--port', '{port}'])"
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "GRADIO_TEMP_DIR": str(folder),
        **variables,
    }
    url = f"http://127.0.0.1:{port}"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=folder,  # where no base of CLIP lies: the tests are about the small network
        )
        try:
            _wait(url, process, log)
            yield url, process, log
        finally:
            process.terminate()
            process.wait(60)


def _wait(url: str, process: subprocess.Popen, log) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.5)
    raise AssertionError(f"the Space did not start: {log.read_text()}")


@pytest.fixture(scope="module")
def chromium():
    """A browser. Its driver keeps an event loop running, so it must be gone before tests with loops of their own."""
    if CHROMIUM is None:
        pytest.skip("no chromium found: install it, or name it in CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=_QUIET)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, space):
    """Open the Space: ``visit(query, width)``. No console error, no request to elsewhere, no traceback in any test."""
    faults, pages = [], []

    def opened(query: str = "", width: int = 1440):
        page = chromium.new_page(viewport={"width": width, "height": 900}, has_touch=width < 500)
        page.on("console", lambda message: message.type == "error" and faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "request",
            lambda request: _local(request.url, space) or faults.append(f"leaves: {request.url}"),
        )
        page.on(
            "response",
            lambda response: (
                response.status >= 500 and faults.append(f"{response.status} {response.url}")
            ),
        )
        page.set_default_timeout(60_000)
        page.goto(f"{space}/{query and '?'}{query}")
        page.wait_for_selector("#curve svg")
        pages.append(page)
        return page

    yield opened
    for page in pages:
        assert "Traceback" not in page.content()
        page.close()
    assert not faults, faults


def _local(url: str, space: str) -> bool:
    return url.startswith((space, "data:", "blob:"))
