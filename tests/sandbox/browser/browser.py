"""A person at a browser: headless Chromium, driven through WebDriver."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

Found = TypeVar("Found")

POLL_SECONDS = 0.1
PATIENCE_SECONDS = 30.0
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # the tests run as root
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--window-size=1400,1400",
    "--lang=en",
)


class Browser:
    """What a person can do: look for something on the page, click, type, take a picture.

    :param driver: the browser.
    :param pictures: directory of the screenshots; they are numbered.
    """

    def __init__(self, driver: Chrome, pictures: Path) -> None:
        self._driver = driver
        self._pictures = pictures
        self._taken = 0

    def open(self, url: str) -> None:
        """Go to a page."""
        self._driver.get(url)

    def picture(self, name: str) -> None:
        """Keep what is on the page now."""
        self._taken += 1
        self._driver.save_screenshot(str(self._pictures / f"{self._taken:02}-{name}.png"))

    def appear(self, width: int, height: int, *, dark: bool = False) -> None:
        """Be a screen of this size, in CSS pixels, whose owner prefers a light or a dark scheme."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in JavaScript."""
        return self._driver.execute_script(f"return {expression}")

    def go_to_new_tab(self) -> None:
        """Wait for the tab that a link has opened, and look at it."""
        self._wait("a new tab", lambda: len(self._driver.window_handles) > 1)
        self._driver.switch_to.window(self._driver.window_handles[-1])

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        self._driver.switch_to.active_element.send_keys(*keys)

    def messages(self) -> list[str]:
        """Return what the browser has complained about since the last time, such as a refused script."""
        return [str(one["message"]) for one in self._driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def field(self, name: str) -> WebElement:
        """Wait for an input field."""
        return self._wait(f"the field {name}", lambda: self._visible(f"//input[@name='{name}']"))

    def click(self, text: str, tag: str = "button") -> None:
        """Wait for the last button with a text that can be pressed, and press it."""
        xpath = f"//{tag}[contains(normalize-space(.), '{text}')]"

        def press() -> bool:
            pressable = [one for one in self._all(xpath) if one.is_displayed() and one.is_enabled()]
            if pressable:
                pressable[-1].click()
            return bool(pressable)

        self._wait(f"the button {text!r}", press)

    def type_into(self, name: str, text: str) -> None:
        """Replace what is in an input field."""
        field = self.field(name)
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(text)

    def read(self, text: str) -> str:
        """Wait until a text is on the page; return the address."""
        self._wait(f"the text {text!r}", lambda: text in self._driver.find_element(By.TAG_NAME, "body").text)
        return self._driver.current_url

    def run_state(self, *states: str, seconds: float = PATIENCE_SECONDS) -> str:
        """Wait until the page of a run, which is not loaded again, says one of these; return which."""
        # Those of its tasks are in tables.
        badge = "//*[@data-testid='state-badge'][not(ancestor::table)]"

        def shown() -> str | None:
            texts = [one.text.strip() for one in self._all(badge) if one.is_displayed()]
            return next((text for text in texts if text in states), None)

        return self._wait(f"the run's state {' or '.join(states)}", shown, seconds)

    def _visible(self, xpath: str) -> WebElement | None:
        return next((one for one in self._all(xpath) if one.is_displayed()), None)

    def _all(self, xpath: str) -> list[WebElement]:
        return self._driver.find_elements(By.XPATH, xpath)

    def _wait(self, what: str, look: Callable[[], Found | None], seconds: float = PATIENCE_SECONDS) -> Found:
        deadline = time.monotonic() + seconds
        while True:
            try:
                if found := look():
                    return found
            except (StaleElementReferenceException, WebDriverException):
                # The page is being drawn; a moment later it is another.
                pass
            if time.monotonic() > deadline:
                self.picture("missing")
                raise AssertionError(f"{what} is not on {self._driver.current_url}")
            time.sleep(POLL_SECONDS)


@contextmanager
def browser(pictures: Path) -> Iterator[Browser]:
    """Start a browser; skip the test where there is none.

    :param pictures: directory of the screenshots; made anew.
    """
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(programs):
        pytest.skip("chromium and chromedriver are not installed (Debian's package chromium-driver)")
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir(parents=True)
    options = ChromeOptions()
    options.binary_location = str(programs[0])
    for argument in ARGUMENTS:
        options.add_argument(argument)
    driver = Chrome(options=options, service=Service(programs[1]))
    try:
        yield Browser(driver, pictures)
    finally:
        driver.quit()
