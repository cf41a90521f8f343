"""A headless Chromium, driven over its DevTools protocol: open a page, run JavaScript, photograph, print."""

import asyncio
import base64
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"),
    *("--hide-scrollbars", "--remote-debugging-port=0", "--no-first-run"),
)


class Page:
    """One tab. Methods wait for their answer; RuntimeError when JavaScript raises, TimeoutError when nothing comes."""

    def __init__(self, address: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._socket = self._loop.run_until_complete(_connect(address))
        self._count = 0
        self.requested: list[str] = []
        self.errors: list[str] = []
        self.call("Network.enable")
        self.call("Runtime.enable")
        self.call("Page.enable")

    def call(self, method: str, seconds: float = 120.0, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol; addresses the page asked for and its uncaught errors are noted meanwhile."""
        self._count += 1
        message = json.dumps({"id": self._count, "method": method, "params": parameters})
        self._loop.run_until_complete(_send(self._socket, message))
        until = time.monotonic() + seconds
        while True:
            text = self._loop.run_until_complete(_receive(self._socket, until - time.monotonic()))
            assert text is not None, "the browser is gone"
            answer = json.loads(text)
            if answer.get("method") == "Network.requestWillBeSent":
                self.requested.append(answer["params"]["request"]["url"])
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(answer["params"]["exceptionDetails"]))
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(answer["error"])
                return answer["result"]

    def open(self, address: str, width: int = 1280, height: int = 800) -> None:
        """Show a page."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Page.navigate", url=address)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"])
        return found["result"].get("value")

    def wait(self, script: str, seconds: float = 120.0) -> Any:
        """The first true value of an expression; one that raises, as on a page that is still loading, is not true."""
        until = time.monotonic() + seconds
        value = f"const it = {script}; return it instanceof Node ? true : it"
        while not (found := self.run(f"(() => {{ try {{ {value} }} catch {{ return null }} }})()")):
            if time.monotonic() > until:
                raise TimeoutError(f"never true: {script}; the page says: {self.run('document.body?.innerText')}")
            time.sleep(0.3)
        return found

    def click(self, script: str) -> None:
        """A real click in the middle of the element that an expression gives, once it is there."""
        place = self.wait(
            f"(() => {{ const found = {script}; if (!found) return null; found.scrollIntoView({{block: 'center'}});"
            " const box = found.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2] })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            where = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, **where)

    def photograph(self, path: Path, whole: bool = False) -> None:
        """PNG of what is in view, or of the whole page."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def print(self, path: Path) -> None:
        """PDF on A4."""
        found = self.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()
        self._loop.close()


async def _connect(address: str) -> WebSocketClientConnection:
    return await websocket_connect(HTTPRequest(address, connect_timeout=60), max_message_size=2**27)


async def _send(socket: WebSocketClientConnection, message: str) -> None:
    await socket.write_message(message)


async def _receive(socket: WebSocketClientConnection, seconds: float) -> Any:
    async with asyncio.timeout(max(0.1, seconds)):
        return await socket.read_message()


@contextmanager
def browser() -> Iterator[Page]:
    """A new Chromium with one empty tab; it ends with the block."""
    assert CHROMIUM, "no chromium here"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            page = Page(_tab(process))
            try:
                yield page
            finally:
                page.close()
        finally:
            process.kill()
            process.wait()


def _tab(process: subprocess.Popen) -> str:
    """The address of the tab's socket, as the browser tells it."""
    from urllib.request import urlopen

    assert process.stderr
    for line in process.stderr:
        found = re.search(r"listening on ws://([^/]+)/", line)
        if found:
            with urlopen(f"http://{found[1]}/json", timeout=60) as answer:
                tabs = json.load(answer)
            return next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
    raise AssertionError("chromium ended before it listened")
