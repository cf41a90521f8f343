"""MLflow as a user sees it: a real server, and its page that compares runs, worked by mouse in a headless browser."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from tests.browser import Page

OPTION = "[...document.querySelectorAll('[class*=select-item-option]')].find(item => item.title === {title})"
LISTS = "[...document.querySelectorAll('.rc-virtual-list-holder')].filter(list => list.offsetParent).at(-1)"


@contextmanager
def mlflow_server(folder: Path) -> Iterator[tuple[str, Callable[[], subprocess.Popen]]]:
    """`host:port`, and what starts `mlflow server` there on `mlflow.db` of a folder; killed with the block."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_SERVER_ALLOWED_HOSTS": address,
    }
    host, _, port = address.partition(":")
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
               "--artifacts-destination", str(folder / "artifacts"), "--host", host, "--port", port,
               "--workers", "1"]  # fmt: skip
    processes: list[subprocess.Popen] = []

    def start() -> subprocess.Popen:
        log = (folder / "server.log").open("a")
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        processes.append(process)
        until = time.monotonic() + 150
        while time.monotonic() < until and process.poll() is None:
            try:
                urllib.request.urlopen(f"http://{address}/health", timeout=2).close()
                return process
            except OSError:
                time.sleep(0.2)
        raise AssertionError((folder / "server.log").read_text())

    yield address, start
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def compare(page: Page, address: str, experiment: str, runs: Sequence[str], height: int = 760) -> None:
    """Open the comparison of runs."""
    found = f"runs={quote(json.dumps(list(runs)))}&experiments={quote(json.dumps([experiment]))}"
    page.open(f"http://{address}/#/compare-runs?{found}", 1400, height)
    page.wait("document.querySelector('.js-plotly-plot').data[0].dimensions.length")


def choose(page: Page, parameters: Sequence[str], metrics: Sequence[str]) -> list[str]:
    """Put those on the axes of the parallel coordinates, in the lists a user opens; the labels that are drawn then."""
    page.click("[...document.querySelectorAll('button')].find(button => button.innerText === 'Clear All')")
    for number, names in enumerate((parameters, metrics)):
        page.click(f"document.querySelectorAll('input[role=combobox]')[{number}]")
        for name in names:
            _pick(page, name)
        page.click("[...document.querySelectorAll('h1, h2')].find(head => head.innerText.startsWith('Comparing'))")
    count = len(parameters) + len(metrics)
    page.wait(f"document.querySelector('.js-plotly-plot').data[0].dimensions.length === {count}")
    return page.run("document.querySelector('.js-plotly-plot').data[0].dimensions.map(axis => axis.label)")


def axis(page: Page, label: str) -> list[float]:
    """Where the drawn runs are on one axis of the parallel coordinates."""
    found = (
        f"document.querySelector('.js-plotly-plot').data[0].dimensions.find(axis => axis.label === {json.dumps(label)})"
    )
    return page.run(f"[...{found}.values]")


def scatter(page: Page, x: str, y: str) -> dict[str, list[float]]:
    """Open the scatter plot over those axes; the points that are drawn."""
    page.click("[...document.querySelectorAll('[role=tab]')].find(tab => tab.innerText.includes('Scatter'))")
    for selector, name in {"x-axis-selector": x, "y-axis-selector": y}.items():
        page.click(f"document.getElementById('{selector}')")
        page.click(
            f"[...document.querySelectorAll('[role=option]')].find(item => item.innerText === {json.dumps(name)})"
        )
    page.wait(
        f"document.getElementById('y-axis-selector').innerText === {json.dumps(y)} &&"
        " [...document.querySelectorAll('.js-plotly-plot')].at(-1).data[0].x.length"
    )
    plot = "[...document.querySelectorAll('.js-plotly-plot')].at(-1).data[0]"
    return {name: page.run(f"[...{plot}.{name}].map(Number)") for name in ("x", "y")}


def _pick(page: Page, name: str) -> None:
    """Click one entry of the open list, which has only those in the page that are in view."""
    option = OPTION.format(title=json.dumps(name))
    page.wait(LISTS)
    for place in [*range(0, 6000, 90)] * 3:
        if page.run(f"!!({option})"):
            page.run(f"{option}.click()")
            return
        page.run(f"{LISTS}.scrollTop = {place} % {LISTS}.scrollHeight")
        page.run("new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(() => drawn(1))))")
    raise AssertionError(f"{name} is not offered")
