"""A real browser without a window, spoken to by the WebDriver protocol: pages that need scripts and a server."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.services import free_port

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
DRIVER = shutil.which("chromedriver") or ""
needs_chromium = pytest.mark.skipif(
    not CHROMIUM, reason="no Chromium is installed (Debian: apt-get install chromium chromium-driver)"
)
needs_driver = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="no Chromium with chromedriver is installed (Debian: apt-get install chromium chromium-driver)",
)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
SCREENSHOTS = "FUSIONBENCH_SCREENSHOTS"
"""Environment variable: the folder that keeps screenshots; default the test's own folder."""


def kept(folder: Path) -> Path:
    """Where screenshots go: the folder that `SCREENSHOTS` names, else the test's own."""
    pictures = Path(os.environ.get(SCREENSHOTS) or folder)
    pictures.mkdir(parents=True, exist_ok=True)
    return pictures


class Browser:
    """One window of a running chromedriver."""

    def __init__(self, session: str, pictures: Path) -> None:
        self._session, self._pictures = session, pictures

    def open(self, url: str) -> None:
        self._post("url", {"url": url})

    def run(self, script: str, *args: Any) -> Any:
        """What a script returns."""
        return self._post("execute/sync", {"script": script, "args": list(args)})

    def emulate(self, width: int, height: int, *, dark: bool = False) -> None:
        """A screen of so many CSS pixels, as of a phone, and the colours that its user prefers."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._devtools("Emulation.setDeviceMetricsOverride", screen)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._devtools("Emulation.setEmulatedMedia", {"features": [scheme]})

    def _devtools(self, command: str, parameters: dict[str, Any]) -> None:
        self._post("goog/cdp/execute", {"cmd": command, "params": parameters})

    def text(self) -> str:
        """What the page shows, as one line."""
        return " ".join(str(self.run("return document.body.innerText")).split())

    def wait(self, *words: str, seconds: float = 90) -> str:
        """The page's text, once it holds every word.

        Raises:
            AssertionError: it never did; with what it shows instead.
        """
        end = time.monotonic() + seconds
        while not all(word in (seen := self.text()) for word in words):
            if time.monotonic() > end:
                self.screenshot("missed")
                raise AssertionError(f"{[w for w in words if w not in seen]} not on the page: {seen[:2000]}")
            time.sleep(0.3)
        return seen

    def wait_frame(self, *words: str, seconds: float = 90) -> str:
        """`wait` in the first frame of the page."""
        self.wait_for("return document.querySelector('iframe') !== null", seconds)
        found = self._post("element", {"using": "css selector", "value": "iframe"})
        self._post("frame", {"id": found})
        try:
            return self.wait(*words, seconds=seconds)
        finally:
            self._post("frame", {"id": None})

    def wait_for(self, script: str, seconds: float = 90) -> None:
        """Wait until a script returns true.

        Raises:
            AssertionError: it never did.
        """
        end = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(0.3)

    def screenshot(self, name: str) -> Path:
        """The window as `NAME.png` among the pictures that are kept."""
        path = self._pictures / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}.png"
        answer = requests.get(f"{self._session}/screenshot", timeout=60)
        answer.raise_for_status()
        path.write_bytes(base64.b64decode(answer.json()["value"]))
        return path

    def _post(self, what: str, content: dict[str, Any]) -> Any:
        answer = requests.post(f"{self._session}/{what}", json=content, timeout=120)
        assert answer.ok, answer.text[:2000]
        return answer.json()["value"]


@contextmanager
def browser(folder: Path, width: int = 1500, height: int = 1000) -> Iterator[Browser]:
    """A headless Chromium with a profile of its own below `folder`."""
    pictures = kept(folder)
    url = f"http://127.0.0.1:{(port := free_port())}"
    flags = [*FLAGS, f"--user-data-dir={folder / 'profile'}", f"--window-size={width},{height}"]
    options = {"binary": CHROMIUM, "args": flags}
    wanted = {"alwaysMatch": {"goog:chromeOptions": options, "timeouts": {"script": 110_000}}}  # a busy machine
    with (folder / "chromedriver.log").open("w") as log:
        driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=log, stderr=log)
        try:
            _await(url)
            made = requests.post(f"{url}/session", json={"capabilities": wanted}, timeout=120)
            assert made.ok, made.text[:2000]
            session = f"{url}/session/{made.json()['value']['sessionId']}"
            try:
                yield Browser(session, pictures)
            finally:
                requests.delete(session, timeout=60)
        finally:
            driver.terminate()
            driver.wait(30)


def _await(url: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            if requests.get(f"{url}/status", timeout=5).json()["value"]["ready"]:
                return
        except requests.ConnectionError:
            if time.monotonic() > end:
                raise
        time.sleep(0.1)
