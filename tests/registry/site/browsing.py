"""A browser that tests drive, a server for it, and what happened in it."""

import contextlib
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

PHONE, DESKTOP = 360, 1280


class Quiet(SimpleHTTPRequestHandler):
    """A server of files that says nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine, and give its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True, slots=True)
class Browser:
    """Debian's chromium, without a window."""

    driver: webdriver.Chrome

    @classmethod
    def start(cls, folder: Path) -> "Browser":
        """Start it with a profile in a folder. Nothing is downloaded: both programs are named."""
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        for flag in [*flags, "--disable-background-networking", "--disable-component-update", f"--user-data-dir={folder}"]:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        return cls(webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver"))))

    def look(self, *, width: int = DESKTOP, dark: bool = False, motion: bool = True, javascript: bool = True) -> None:
        """Choose the window and what the reader prefers."""
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        calm = {"name": "prefers-reduced-motion", "value": "no-preference" if motion else "reduce"}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, calm]})
        self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not javascript})

    def open(self, address: str) -> None:
        """Open a page anew, even if only what is behind the # differs."""
        self.driver.get("about:blank")
        self.driver.get(address)
        WebDriverWait(self.driver, 30, poll_frequency=0.02).until(self._is_loaded)  # `get` may come back a little early

    @staticmethod
    def _is_loaded(driver: webdriver.Chrome) -> bool:
        return bool(driver.execute_script("return document.readyState === 'complete' && location.href !== 'about:blank'"))

    def run(self, script: str, *values: Any) -> Any:
        """Run a script in the page, and give what it returns."""
        return self.driver.execute_script(script, *values)

    def find(self, selector: str) -> WebElement:
        """Find an element."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def find_all(self, selector: str) -> list[WebElement]:
        """Find all elements."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def titles(self, table: str = "modules") -> list[str]:
        """List the ids of the rows that a table shows, in order."""
        script = (
            "return [...document.querySelectorAll(`[data-name=${arguments[0]}] tbody tr`)].filter(row => row.checkVisibility())"
        )
        return list(self.run(f"{script}.map(row => row.querySelector('.id').textContent)", table))

    @property
    def focused(self) -> str:
        """What has the focus: its text, or its id."""
        return str(self.run("const now = document.activeElement; return now.id || now.textContent.trim()"))

    def complaints(self) -> list[str]:
        """List what the console says, errors and violations of the policy among it, since the last time."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """List what was asked for over the network since the last time."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [
            message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
        ]
        return [address for address in asked if address.startswith(("http", "ws", "ftp", "file"))]  # none of its own
